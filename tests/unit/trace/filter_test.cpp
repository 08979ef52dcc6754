#include "trace/filter.hpp"

#include <gtest/gtest.h>

#include "recorded.hpp"
#include "trace/summary.hpp"
#include "trace/text.hpp"

namespace pinfold::trace {
namespace {

LogEvent refused_update() {
  LogEvent e;
  e.kind = pvmmu::TraceKind::update;
  e.level = 1;
  e.table = Mfn(0x30);
  e.slot = 7;
  e.old = pvmmu::Pte(Mfn(0x10), pvmmu::test::ro);
  e.now = pvmmu::Pte(Mfn(0x20), pvmmu::test::rw);
  e.frame = Mfn(0x20);
  e.refusal = pvmmu::Refusal{};
  e.refusal->rule = pvmmu::Rule::l1_foreign_frame;
  e.vcpu = VcpuId(1);
  e.by_vcpu = true;
  e.ip = GuestVaddr(0xffffffff81000010);
  return e;
}

bool passes(const char* text, const LogEvent& event) {
  Filter filter;
  const auto added = filter.add(text);
  EXPECT_TRUE(added.has_value()) << text << ": " << added.error();
  return filter.matches(event);
}

TEST(Filter, each_condition_looks_at_its_part_of_an_event) {
  const LogEvent e = refused_update();
  for (const char* text :
       {"", "op=update", "op=pin,update", "verdict=refused", "verdict=l1.foreign-frame", "frame=0x20",
        "frame=16", "table=0x30", "level=1", "vcpu=1", "address=0x30038", "address=0x3003f",
        "address=0xffffffff81000010", "op=update verdict=refused;level=1"})
    EXPECT_TRUE(passes(text, e)) << text;
  for (const char* text : {"op=pin", "verdict=accepted", "verdict=upper.wrong-type", "frame=0x30",
                           "table=0x20", "level=2", "vcpu=0", "address=0x30040", "op=update level=2"})
    EXPECT_FALSE(passes(text, e)) << text;
}

TEST(Filter, an_address_is_any_in_the_page_that_an_update_maps) {
  LogEvent e = refused_update();
  e.kind = pvmmu::TraceKind::update_va;
  e.argument = 0x7f0000001000;
  EXPECT_TRUE(passes("address=0x7f0000001fff", e));
  EXPECT_FALSE(passes("address=0x7f0000002000", e));
}

TEST(Filter, what_is_no_condition_is_named) {
  for (const char* text :
       {"op", "colour=red", "op=paint", "verdict=maybe", "frame=x", "frame=", "level=5", "="}) {
    Filter filter;
    EXPECT_FALSE(filter.add(text).has_value()) << text;
  }
}

TEST(Text, of_a_refusal_says_so_and_why) {
  const std::string line = line_of(LogHeader(), refused_update(), {});
  EXPECT_TRUE(line.starts_with("REFUSED"));
  for (const char* part : {"v1", "update", "L1 0x30[7]", "l1.foreign-frame", "0xffffffff81000010"})
    EXPECT_NE(line.find(part), std::string::npos) << part << " in " << line;
}

TEST(Text, names_functions_if_it_can) {
  const Namer namer = [](std::uint64_t) { return std::string("set_pte+0x10"); };
  EXPECT_NE(line_of(LogHeader(), refused_update(), namer).find("set_pte+0x10"), std::string::npos);
  EXPECT_NE(json_of(LogHeader(), refused_update(), namer).find("\"function\":\"set_pte+0x10\""),
            std::string::npos);
}

TEST(Text, of_every_event_is_one_line) {
  const auto bytes = test::recorded_log();
  auto log = LogReader::from(bytes);
  Summary summary;
  while (log->next() == LogReader::Step::event) {
    const std::string line = line_of(log->header(), log->event(), {});
    const std::string json = json_of(log->header(), log->event(), {});
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_EQ(json.find('\n'), std::string::npos);
    EXPECT_NE(line.find(name(log->event().kind)), std::string::npos);
    EXPECT_EQ(json.front(), '{');
    summary.add(log->event());
  }
  const std::string text = summary.text(log->header(), {});
  for (const char* part :
       {"l1.writable-map-of-table", "va.no-l1", "tables with the most operations", "flushes"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
}

LogEvent of_grant(pvmmu::TraceKind kind, bool refused,
                  pvmmu::GrantPurpose purpose = pvmmu::GrantPurpose::map) {
  LogEvent e;
  e.count = static_cast<std::uint64_t>(purpose);
  e.kind = kind;
  e.of_several = true;
  e.domain = DomId(2);
  e.grant = GrantName(DomId(1), GrantRef(9));
  if (refused) e.refusal.emplace();
  if (refused) e.refusal->rule = pvmmu::Rule::l1_foreign_frame;
  return e;
}

TEST(Filter, finds_a_grant_by_its_owner_and_reference) {
  const LogEvent e = of_grant(pvmmu::TraceKind::map_granted, false);
  for (const char* text : {"lender=1", "grant=9", "lender=1,3 grant=0x9 domain=2"})
    EXPECT_TRUE(passes(text, e)) << text;
  for (const char* text : {"lender=2", "grant=8", "lender=1 grant=1"}) EXPECT_FALSE(passes(text, e)) << text;
  EXPECT_FALSE(passes("grant=0", refused_update()));
}

TEST(Filter, finds_uses_of_grants_by_their_verdict) {
  LogEvent e = of_grant(pvmmu::TraceKind::use_grant, false, pvmmu::GrantPurpose::copy_from);
  EXPECT_TRUE(passes("op=use-grant verdict=accepted", e));
  EXPECT_FALSE(passes("verdict=refused", e));
  e.refusal.emplace().rule = pvmmu::Rule::grant_not_granted;
  EXPECT_TRUE(passes("verdict=refused verdict=grant.not-granted lender=1", e));
  EXPECT_FALSE(passes("verdict=accepted", e));
}

TEST(UseOfGrant, is_told_as_text_and_json) {
  LogEvent e = of_grant(pvmmu::TraceKind::use_grant, false, pvmmu::GrantPurpose::copy_from);
  e.frame = Mfn(0x67);
  e.argument = 64;
  EXPECT_NE(line_of({}, e, {}).find(" use-grant copy from grant 9 of d1 frame 0x67 64 bytes"),
            std::string::npos)
      << line_of({}, e, {});
  EXPECT_NE(json_of({}, e, {}).find(R"("purpose":"copy from","verdict":"accepted")"), std::string::npos)
      << json_of({}, e, {});
  e.refusal.emplace().rule = pvmmu::Rule::grant_unknown_handle;
  e.count = static_cast<std::uint64_t>(pvmmu::GrantPurpose::unmap);
  e.argument = 7;
  e.grant.reset();
  e.frame = no_mfn;
  const std::string line = line_of({}, e, {});
  EXPECT_EQ(line.find("REFUSED "), 0U) << line;
  EXPECT_NE(line.find("use-grant unmap handle 7 : grant.unknown-handle: "), std::string::npos) << line;
  e.argument = 0;
  EXPECT_NE(line_of({}, e, {}).find("use-grant unmap handle 0 : "), std::string::npos) << line_of({}, e, {});
  e.argument = 7;
  // A log of somebody else's may have any number there.
  e.count = ~0ULL;
  EXPECT_NE(line_of({}, e, {}).find("use-grant 7 bytes"), std::string::npos) << line_of({}, e, {});
  EXPECT_EQ(json_of({}, e, {}).find("purpose"), std::string::npos);
}

TEST(Summary, of_several_domains_counts_what_each_did_and_mapped) {
  Summary summary;
  LogEvent first = refused_update();
  first.domain = DomId(1);
  summary.add(first);
  summary.add(of_grant(pvmmu::TraceKind::map_granted, false));
  summary.add(of_grant(pvmmu::TraceKind::map_granted, true));
  summary.add(of_grant(pvmmu::TraceKind::unmap_granted, false));
  summary.add(of_grant(pvmmu::TraceKind::replace_granted, false));
  for (const auto purpose : {pvmmu::GrantPurpose::copy_to, pvmmu::GrantPurpose::transfer})
    summary.add(of_grant(pvmmu::TraceKind::use_grant, false, purpose));
  summary.add(of_grant(pvmmu::TraceKind::use_grant, true));
  const std::string json = summary.json(LogHeader(), {});
  for (const char* part :
       {R"({"domain":1,"events":1,"operations":1,"accepted":0,"refused":1,"unfinished":0})",
        R"({"domain":2,"events":7,"operations":4,"accepted":3,"refused":1,"unfinished":0})",
        R"("grants":[{"mapper":2,"owner":1,"mapped":1,"unmapped":2,"copied":1,"refused":2}])",
        R"("use-grant":{"count":3,"refused":1})", R"("refused_by_rule":{"l1.foreign-frame":3})"})
    EXPECT_NE(json.find(part), std::string::npos) << json;
  const std::string text = summary.text(LogHeader(), {});
  EXPECT_NE(text.find("2 domains"), std::string::npos);
  EXPECT_NE(text.find("domain 2 of domain 1                  1          2          1          2"),
            std::string::npos)
      << text;
}

TEST(Summary, of_one_domain_does_not_count_by_domain) {
  Summary summary;
  summary.add(refused_update());
  EXPECT_EQ(summary.json(LogHeader(), {}).find("domains"), std::string::npos);
  EXPECT_EQ(summary.text(LogHeader(), {}).find("grants"), std::string::npos);
}

TEST(Summary, of_more_pairs_of_domains_than_there_can_be_stays_small) {
  Summary summary;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    LogEvent e = of_grant(pvmmu::TraceKind::map_granted, false);
    e.domain = DomId(static_cast<std::uint16_t>(i));
    summary.add(e);
  }
  const std::string json = summary.json(LogHeader(), {});
  EXPECT_NE(json.find(R"({"mapper":null,"owner":null,"mapped":3976,)"), std::string::npos);
  EXPECT_NE(summary.text(LogHeader(), {}).find("and 961 more"), std::string::npos);
}

TEST(Summary, of_an_empty_log_is_one_as_well) {
  EXPECT_NE(Summary().text(LogHeader(), {}).find("0 events"), std::string::npos);
}

}  // namespace
}  // namespace pinfold::trace
