// Grants frames to its neighbour (grants_user.cpp), and sees what it can't do with them while they are in
// use; or ends then ("ends").
#include "machine/grants.hpp"

using namespace kit;

namespace {

constexpr u16 read = GTF_reading, written = GTF_reading | GTF_writing;

void is_no_table_while_it_is_written_elsewhere(Page* page) {
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), einval);
  CHECK_EQ(make_writable(page), 0);
}
void is_a_page_like_others_again(Page* page) {
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
  CHECK_EQ(make_writable(page), 0);
}

/// Changes its grants without end, in use or not, and makes tables of the frames where it can.
[[noreturn]] void forever(Page* (&pages)[4]) {
  u64 tables = 0;
  for (u64 i = 0;; ++i) {
    const u32 ref = secret_ref + static_cast<u32>(i % 4);
    Page* page = pages[i * 7 / 4 % 4];
    const u16 flags[] = {granted, granted_for_reading, 0, granted};
    grant(ref, mfn_of(page), flags[i / 16 % 4]);
    if (i % 8 == 0 && make_read_only(page) == 0) {
      if (extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)) == 0) {
        ++tables;
        CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
      }
      CHECK_EQ(make_writable(page), 0);
    }
    if (i == 2000) say("round ", hex(tables));
  }
}

}  // namespace

void test() {
  install_traps();
  Page *page = new_page(), *read_only = new_page(), *table = new_page(), *second = new_page();
  page->words[5] = read_only->words[5] = secret;
  CHECK_EQ(make_read_only(table), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), 0);
  grant(secret_ref, mfn_of(page));
  grant(read_only_ref, mfn_of(read_only), granted_for_reading);
  grant(table_ref, mfn_of(table));
  grant(second_ref, mfn_of(second));
  owner_open_mailbox();
  if (asked_for("forever")) {
    Page* pages[] = {new_page(), new_page(), new_page(), new_page()};
    forever(pages);
  }
  mailbox->frame = mfn_of(page);
  tell(mailbox->of_owner, 1);

  await(mailbox->of_user, 1);  // it has the pages mapped
  if (asked_for("ends")) return;
  CHECK_EQ(flags_of(secret_ref), granted | written);
  CHECK_EQ(flags_of(read_only_ref), granted_for_reading | read);
  CHECK_EQ(page->words[6], reply);
  is_no_table_while_it_is_written_elsewhere(page);
  gnttab_swap_grant_ref swap{secret_ref, second_ref, 99};
  CHECK_EQ(grant_op(GNTTABOP_swap_grant_ref, swap), 0);
  CHECK_EQ(swap.status, GNTST_eagain);
  // The user goes on with the page that it mapped, whatever the entry says now.
  grant_table()[secret_ref].frame = static_cast<u32>(mfn_of(second));
  tell(mailbox->of_owner, 2);

  await(mailbox->of_user, 2);  // it has unmapped them
  CHECK_EQ(flags_of(secret_ref), granted);
  CHECK_EQ(flags_of(read_only_ref), granted_for_reading);
  CHECK_EQ(page->words[7], reply + 2);
  CHECK_EQ(second->words[7], 0);
  CHECK_EQ(second->words[2], reply);
  CHECK_EQ(second->words[3], secret);
  is_a_page_like_others_again(page);
  is_a_page_like_others_again(read_only);
  grant(secret_ref, 0, 0);
  tell(mailbox->of_owner, 3);

  await(mailbox->of_user, 3);
  say("the owner is done");
}
