#include "common/audit/audit.h"

#include <gmock/gmock.h>

#include <thread>
#include <vector>

#include "audit_migrations.h"
#include "common/testing/database.h"

namespace shop::audit {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

Call As(int64_t user, api::v1::Role role) {
  Call call;
  call.caller.user_id = user;
  call.caller.role = role;
  call.request_id = "request-" + std::to_string(user);
  return call;
}

class AuditTest : public ::testing::Test {
 protected:
  AuditTest() { postgres::Migrate(db_, {kAuditMigrations}); }

  void Note(const Fact& fact, const Call& call = As(1, api::v1::ROLE_ADMIN)) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { Record(tx, call, fact); });
  }
  void Run(const std::string& sql) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run(sql); });
  }
  // As whoever owns the table can: the trigger is no obstacle to them.
  void Tamper(const std::string& sql) {
    Run("ALTER TABLE audit DISABLE TRIGGER USER;" + sql + ";ALTER TABLE audit ENABLE TRIGGER USER");
  }
  Result<v1::ListAuditResponse> List(const v1::ListAuditRequest& request) {
    return reader_.ListAudit(Call(), request);
  }
  std::vector<int64_t> Sequences(const v1::ListAuditRequest& request) {
    std::vector<int64_t> found;
    const Result<v1::ListAuditResponse> listed = List(request);
    for (const v1::AuditEntry& entry : listed->items()) found.push_back(entry.sequence());
    return found;
  }
  Verdict Verified(const std::optional<Known>& known = std::nullopt) {
    return postgres::Read(db_, [&](postgres::Tx& tx) { return Verify(tx, known); });
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  Reader reader_{db_};
};

TEST_F(AuditTest, SaysWhoDidWhatToWhom) {
  Note({"PRICE_CHANGED", "product 7", {{"from", "1.00"}, {"to", "it's \"2\", {x}"}}},
       As(12, api::v1::ROLE_SELLER));
  Call service;
  service.caller.service = "orders";
  Note({"REFUND_REQUESTED", "order 19"}, service);
  const Result<v1::ListAuditResponse> listed = List(v1::ListAuditRequest());
  ASSERT_EQ(listed->items_size(), 2);
  EXPECT_EQ(listed->items(0).sequence(), 2);
  EXPECT_EQ(listed->items(0).service(), "orders");
  EXPECT_FALSE(listed->items(0).has_user_id());
  const v1::AuditEntry& entry = listed->items(1);
  EXPECT_EQ(entry.sequence(), 1);
  EXPECT_EQ(entry.user_id(), 12);
  EXPECT_EQ(entry.role(), api::v1::ROLE_SELLER);
  EXPECT_EQ(entry.action(), "PRICE_CHANGED");
  EXPECT_EQ(entry.object(), "product 7");
  EXPECT_THAT(entry.details(),
              UnorderedElementsAre(Pair("from", "1.00"), Pair("to", "it's \"2\", {x}")));
  EXPECT_EQ(entry.request_id(), "request-12");
  EXPECT_EQ(entry.hash().size(), 64u);
}

TEST_F(AuditTest, IsReadInPagesAndByWhatIsAskedFor) {
  for (int number = 1; number <= 5; ++number) {
    Note({number % 2 == 0 ? "STOCK_SET" : "PRICE_CHANGED", "product " + std::to_string(number % 3)},
         As(number, api::v1::ROLE_ADMIN));
  }
  v1::ListAuditRequest request;
  request.set_limit(2);
  Result<v1::ListAuditResponse> page = List(request);
  ASSERT_EQ(page->items_size(), 2);
  EXPECT_EQ(page->items(0).sequence(), 5);
  request.set_before(page->next_before());
  EXPECT_THAT(Sequences(request), ElementsAre(3, 2));
  request.set_before(2);
  page = List(request);
  EXPECT_EQ(page->items_size(), 1);
  EXPECT_FALSE(page->has_next_before());

  v1::ListAuditRequest of;
  of.set_user_id(4);
  EXPECT_THAT(Sequences(of), ElementsAre(4));
  of.Clear();
  of.set_object("product 1");
  EXPECT_THAT(Sequences(of), ElementsAre(4, 1));
  of.set_action("STOCK_SET");
  EXPECT_THAT(Sequences(of), ElementsAre(4));
}

TEST_F(AuditTest, WhatIsRolledBackWasNeverDone) {
  EXPECT_THROW(
      postgres::InTransaction(db_,
                              [&](postgres::Tx& tx) {
                                Record(tx, As(1, api::v1::ROLE_ADMIN), {"LOGIN", "user 1"});
                                throw std::runtime_error("later");
                              }),
      std::runtime_error);
  Note({"LOGIN", "user 2"});
  EXPECT_EQ(Verified().entries, 1);
  EXPECT_THAT(Verified().broken, IsEmpty());
}

TEST_F(AuditTest, ManyAtOnceAreOneChain) {
  constexpr int kThreads = 8;
  constexpr int kEach = 20;
  {
    std::vector<std::jthread> threads;
    for (int thread = 1; thread <= kThreads; ++thread) {
      threads.emplace_back([this, thread] {
        for (int i = 0; i < kEach; ++i) Note({"LOGIN", "user " + std::to_string(thread)});
      });
    }
  }
  const Verdict verdict = Verified();
  EXPECT_EQ(verdict.entries, kThreads * kEach);
  EXPECT_EQ(verdict.last.sequence, kThreads * kEach);
  EXPECT_THAT(verdict.broken, IsEmpty());
}

TEST_F(AuditTest, NothingIsChangedOrTakenOut) {
  Note({"LOGIN", "user 1"});
  for (const char* sql :
       {"UPDATE audit SET object = 'user 2'", "DELETE FROM audit", "TRUNCATE audit"}) {
    EXPECT_THROW(Run(sql), std::exception) << sql;
  }
  EXPECT_THAT(Sequences(v1::ListAuditRequest()), ElementsAre(1));
}

TEST_F(AuditTest, WhoGetsAroundThatIsFound) {
  for (int user = 1; user <= 6; ++user) Note({"LOGIN", "user " + std::to_string(user)});
  EXPECT_THAT(Verified().broken, IsEmpty());
  const std::vector<std::pair<std::string, std::vector<int64_t>>> cases{
      {"UPDATE audit SET user_id = 9 WHERE sequence = 2", {2}},
      {"UPDATE audit SET details = '{\"x\": \"y\"}' WHERE sequence = 3", {3}},
      {"UPDATE audit SET at = at - interval '1 hour' WHERE sequence = 3", {3}},
      {"DELETE FROM audit WHERE sequence = 4", {5}},
      {"DELETE FROM audit WHERE sequence = 1", {2}}};
  for (const auto& [sql, broken] : cases) {
    Run("CREATE TABLE copy AS SELECT * FROM audit");
    Tamper(sql);
    EXPECT_EQ(Verified().broken, broken) << sql;
    Tamper("DELETE FROM audit; INSERT INTO audit SELECT * FROM copy; DROP TABLE copy");
    EXPECT_THAT(Verified().broken, IsEmpty());
  }
}

TEST_F(AuditTest, ALogThatWasMadeAnewIsFoundByAHashThatSomebodyKept) {
  for (int user = 1; user <= 3; ++user) Note({"LOGIN", "user " + std::to_string(user)});
  const Known kept = Verified().last;
  Note({"LOGIN", "user 4"});
  EXPECT_TRUE(Verified(kept).known_is_there);
  // The last entries are gone, and others have come: a chain without a flaw.
  Tamper("DELETE FROM audit WHERE sequence > 2");
  EXPECT_FALSE(Verified(kept).known_is_there);
  Note({"LOGIN", "user 5"});
  EXPECT_THAT(Verified(kept).broken, IsEmpty());
  EXPECT_FALSE(Verified(kept).known_is_there);
}

}  // namespace
}  // namespace shop::audit
