// Keeps a secret in memory while a neighbour that knows in which frame attacks it. When the neighbour has
// ended, everything is as it was. The neighbour is told of some other frames, too, one of which it may use
// for a time. With "ends" this guest ends first, while the neighbour has that frame mapped. With
// "names-tables" its grant table has entries, for others than the neighbour, that name its page tables.
#include "kit/neighbour.hpp"
#include "machine/grants.hpp"

using namespace kit;

namespace {

/// Even, so that no word is a present entry of a page table.
u64 secret_word(u64 i) { return secret + (i << 32); }

u64 root() { return mfn_of(reinterpret_cast<void*>(info->pt_base)); }

/// The tables by which this guest reaches its secret, as they are while it waits.
struct Tables {
  u64 entries[5];
  explicit Tables(const void* of) {
    entries[0] = root();
    for (int level = 1; level <= 4; ++level) entries[level] = entry_of(level, word(of)) & ~(accessed | dirty);
  }
};

/// The neighbour maps the mailbox as long as it lives.
void wait_for_its_end() {
  const auto lives = [] { return (flags_of(mailbox_ref) & GTF_reading) != 0; };
  constexpr u64 patience = 150'000'000'000;
  for (const u64 end = now_ns() + patience; lives() && now_ns() < end; nap()) {
  }
  CHECK(!lives());
}

/// The neighbour has had its loan: from now on it is a place for the secret.
void take_back(Page* loan) {
  await(mailbox->of_user, 2);
  grant(secret_ref, 0, 0);
  for (u64 i = 0; i < 512; ++i) loan->words[i] = secret_word(i);
  tell(mailbox->of_owner, 2);
}

/// Entries that permit the neighbour nothing, and would be a way to these tables if the monitor did not look
/// at who is permitted what.
void name_tables(const void* of) {
  constexpr domid_t monitor = 0;
  grant(read_only_ref, mfn_of(table_of(1, word(of))), granted_for_reading, monitor);
  grant(table_ref, mfn_of(table_of(1, word(of))), granted, monitor);
  grant(second_ref, root(), granted, monitor);
  grant(forged_ref, ~0U, granted, monitor);
}

}  // namespace

void test() {
  install_traps();
  Page *page = new_page(), *loan = new_page(), *other_page = new_page();
  for (u64 i = 0; i < 512; ++i) page->words[i] = secret_word(i);
  grant(secret_ref, mfn_of(loan));
  if (asked_for("names-tables")) name_tables(page);
  owner_open_mailbox();
  for (int level = 1; level <= 4; ++level) mailbox->frames[level] = mfn_of(table_of(level, word(page)));
  mailbox->frames[0] = mfn_of(page);
  mailbox->frames[5] = entry_of(1, word(grant_table())) / page_size;
  mailbox->frames[6] = info->shared_info / page_size;
  mailbox->frames[neighbours_loan] = mfn_of(loan);
  const Tables before(page);
  tell(mailbox->of_owner, 1);
  await(mailbox->of_user, 1);  // it is there
  if (asked_for("ends")) {
    await(mailbox->of_user, 2);
    say("ends with its secret");
    return;
  }
  if (asked_for("takes-back")) take_back(loan);
  wait_for_its_end();

  for (u64 i = 0; i < 512; ++i) CHECK_EQ(page->words[i], secret_word(i));
  if (asked_for("takes-back"))
    for (u64 i = 0; i < 512; ++i) CHECK_EQ(loan->words[i], secret_word(i));
  const Tables after(page);
  for (int i = 0; i < 5; ++i) CHECK_EQ(after.entries[i], before.entries[i]);
  // Its tables still do what it asks for.
  CHECK_EQ(map(other_page, mfn_of(page) * page_size | data), 0);
  CHECK_EQ(static_cast<volatile Page*>(other_page)->words[511], secret_word(511));
  CHECK_EQ(map(other_page, mfn_of(other_page) * page_size | data), 0);
  say("the secret is as it was");
}
