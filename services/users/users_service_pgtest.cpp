// The users service over gRPC, with a real database.
#include "users/users_service.h"

#include <gmock/gmock.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "audit_migrations.h"
#include "common/audit/testing/entries.h"
#include "common/messaging/outbox.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/published_events.h"
#include "common/testing/servers.h"
#include "messaging_migrations.h"
#include "shop/events/v1/users.pb.h"
#include "users/user_store.h"
#include "users_migrations.h"

namespace shop::users {
namespace {

using api::v1::ROLE_ADMIN;
using api::v1::ROLE_GUEST;
using api::v1::ROLE_SELLER;
using api::v1::ROLE_SUPER_ADMIN;
using api::v1::ROLE_USER;
using google::protobuf::Empty;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class UsersTest : public ::testing::Test {
 protected:
  UsersTest() {
    postgres::Migrate(db_, {kMessagingMigrations, kAuditMigrations, kUsersMigrations});
  }

  // Calls as `who`; the answer's code, and the answer in `last_`.
  template <typename Response, typename Request>
  Result<Response> Call(const testing::Credentials& who, const char* method,
                        const Request& request) {
    return testing::Client(server_.address(), who)
        .Call<Response>("shop.users.v1.UsersService", method, request);
  }

  testing::Credentials As(int64_t id, api::v1::Role role = ROLE_USER) {
    return callers_.User(id, role);
  }
  testing::Credentials Auth() { return callers_.Service("auth"); }
  // A SUPER_ADMIN of whom nothing was published.
  testing::Credentials Boss() {
    postgres::InTransaction(db_, [](postgres::Tx& tx) {
      tx.Run(
          "INSERT INTO profiles (id, name, email, role, attempt)"
          " VALUES (1000, 'Boss', 'boss@example.com', 'SUPER_ADMIN', 1) ON CONFLICT DO NOTHING");
    });
    return As(1000, ROLE_SUPER_ADMIN);
  }

  static v1::CreateUserRequest Person(int64_t id, api::v1::Role role = ROLE_USER,
                                      const std::string& name = "Ann", int64_t attempt = 1) {
    v1::CreateUserRequest request;
    request.set_id(id);
    request.set_name(name);
    request.set_email("person" + std::to_string(id) + "@example.com");
    request.set_role(role);
    request.set_attempt(attempt);
    return request;
  }
  Result<v1::User> Create(const v1::CreateUserRequest& request) {
    return Call<v1::User>(Auth(), "CreateUser", request);
  }
  void Exists(int64_t id, api::v1::Role role = ROLE_USER, const std::string& name = "Ann") {
    const Result<v1::User> user = Create(Person(id, role, name));
    ASSERT_TRUE(user) << user.refusal().message;
  }
  Result<v1::User> Get(const testing::Credentials& who, int64_t id) {
    v1::GetUserRequest request;
    request.set_id(id);
    return Call<v1::User>(who, "GetUser", request);
  }
  Result<Empty> Delete(const testing::Credentials& who, int64_t id) {
    v1::DeleteUserRequest request;
    request.set_id(id);
    return Call<Empty>(who, "DeleteUser", request);
  }
  Result<v1::User> GiveRole(const testing::Credentials& who, int64_t id, api::v1::Role role) {
    v1::UpdateUserRoleRequest request;
    request.set_id(id);
    request.set_role(role);
    return Call<v1::User>(who, "UpdateUserRole", request);
  }
  Result<v1::User> Rename(const testing::Credentials& who, int64_t id, const std::string& name) {
    v1::UpdateUserRequest request;
    request.set_id(id);
    request.set_name(name);
    return Call<v1::User>(who, "UpdateUser", request);
  }
  std::vector<int64_t> Find(const std::string& q) {
    v1::ListUsersRequest request;
    request.set_q(q);
    const Result<v1::ListUsersResponse> list =
        Call<v1::ListUsersResponse>(As(900, ROLE_ADMIN), "ListUsers", request);
    std::vector<int64_t> ids;
    if (!list) {
      ADD_FAILURE() << list.refusal().message;
      return ids;
    }
    for (const v1::User& user : list->items()) ids.push_back(user.id());
    return ids;
  }
  std::vector<std::string> Published() {
    std::vector<std::string> events;
    for (const messaging::Envelope& event : testing::PublishedEvents(db_)) {
      events.push_back(event.type + " " + event.key);
    }
    return events;
  }

  template <typename T>
  static std::string Outcome(const Result<T>& result) {
    return result ? "OK" : Name(result.refusal().code);
  }

  testing::TestDatabase database_;
  testing::Callers callers_;
  postgres::Pool db_{database_.settings()};
  std::atomic<int> woken_ = 0;
  const std::shared_ptr<const void> subscription_ =
      db_.Subscribe(messaging::kOutboxSignal, [this] { ++woken_; });
  UsersService service_{db_};
  rpc::Identity identity_{testing::IdentityOf("users"), callers_.Keys()};
  rpc::Server server_{{.host = "127.0.0.1"}, identity_, {service_.Methods()}};
};

TEST_F(UsersTest, SeveralAreAskedForTogetherByNotificationAlone) {
  for (const int64_t id : {7, 8, 9}) Exists(id);
  v1::BatchGetUsersRequest request;
  for (const int64_t id : {9, 7, 1'000'000, 7}) request.add_ids(id);
  const auto ask = [&](const std::string& service) {
    testing::Credentials who;
    who.service = service;
    return Call<v1::BatchGetUsersResponse>(who, "BatchGetUsers", request);
  };
  const Result<v1::BatchGetUsersResponse> answer = ask("notification");
  ASSERT_TRUE(answer) << answer.refusal().message;
  std::map<int64_t, std::string> found;
  for (const v1::User& user : answer->users()) found[user.id()] = user.email();
  EXPECT_EQ(found, (std::map<int64_t, std::string>{{7, "person7@example.com"},
                                                   {9, "person9@example.com"}}));
  EXPECT_FALSE(ask("orders"));
}

TEST_F(UsersTest, ACreatedUserIsAnsweredWhole) {
  v1::CreateUserRequest request = Person(7, ROLE_SELLER, "Ännchen");
  request.set_birthdate("1990-12-31");
  ASSERT_TRUE(Create(request));
  const Result<v1::User> user = Get(Auth(), 7);
  ASSERT_TRUE(user) << user.refusal().message;
  EXPECT_EQ(user->name(), "Ännchen");
  EXPECT_EQ(user->email(), "person7@example.com");
  EXPECT_EQ(user->role(), ROLE_SELLER);
  EXPECT_EQ(user->birthdate(), "1990-12-31");
  EXPECT_NEAR(static_cast<double>(user->created_at().seconds()),
              static_cast<double>(std::time(nullptr)), 60);
}

TEST_F(UsersTest, ARepeatedCreationAnnouncesOnce) {
  Exists(7);
  ASSERT_TRUE(Rename(As(7), 7, "Renamed"));
  const Result<v1::User> again = Create(Person(7));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->name(), "Renamed");
  EXPECT_THAT(Published(), ElementsAre("USER_REGISTERED 7"));
  EXPECT_EQ(woken_, 1);
}

TEST_F(UsersTest, ALaterAttemptOverwritesAnEarlierOne) {
  ASSERT_TRUE(Create(Person(7, ROLE_ADMIN, "First", 1)));
  ASSERT_TRUE(Create(Person(7, ROLE_USER, "Second", 2)));
  EXPECT_EQ(Outcome(Create(Person(7, ROLE_ADMIN, "First", 1))), "ABORTED");
  const Result<v1::User> user = Get(Auth(), 7);
  ASSERT_TRUE(user);
  EXPECT_EQ(user->name(), "Second");
  EXPECT_EQ(user->role(), ROLE_USER);
  EXPECT_THAT(Published(), ElementsAre("USER_REGISTERED 7"));
}

TEST_F(UsersTest, CreationsAtOnceMakeOneUser) {
  std::vector<std::thread> threads;
  std::barrier start(4);
  std::atomic<int> made = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      start.arrive_and_wait();
      if (Create(Person(7))) ++made;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 4);
  EXPECT_THAT(Published(), ElementsAre("USER_REGISTERED 7"));
}

TEST_F(UsersTest, OnlyAuthCreatesUsers) {
  EXPECT_EQ(Outcome(Call<v1::User>({}, "CreateUser", Person(7))), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Call<v1::User>(Boss(), "CreateUser", Person(7))), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Call<v1::User>(callers_.Service("orders"), "CreateUser", Person(7))),
            "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Get(Auth(), 7)), "NOT_FOUND");
}

TEST_F(UsersTest, AUserSeesOnlyThemselves) {
  Exists(7);
  Exists(8);
  EXPECT_EQ(Outcome(Get(As(7), 7)), "OK");
  EXPECT_EQ(Outcome(Get(As(7), 8)), "NOT_FOUND");
  EXPECT_EQ(Outcome(Get(As(7, ROLE_SELLER), 8)), "NOT_FOUND");
  EXPECT_EQ(Outcome(Get({}, 7)), "UNAUTHENTICATED");
}

TEST_F(UsersTest, AnAdminSeesEverybody) {
  Exists(7);
  EXPECT_EQ(Outcome(Get(As(900, ROLE_ADMIN), 7)), "OK");
  EXPECT_EQ(Outcome(Get(As(900, ROLE_ADMIN), 8)), "NOT_FOUND");
}

TEST_F(UsersTest, OnlyTheFieldsThatAreSentChange) {
  v1::CreateUserRequest person = Person(7);
  person.set_birthdate("1990-12-31");
  ASSERT_TRUE(Create(person));
  const Result<v1::User> renamed = Rename(As(7), 7, "Bea");
  ASSERT_TRUE(renamed) << renamed.refusal().message;
  EXPECT_EQ(renamed->name(), "Bea");
  EXPECT_EQ(renamed->birthdate(), "1990-12-31");

  v1::UpdateUserRequest request;
  request.set_id(7);
  request.set_birthdate("2000-01-01");
  const Result<v1::User> younger = Call<v1::User>(As(7), "UpdateUser", request);
  ASSERT_TRUE(younger);
  EXPECT_EQ(younger->name(), "Bea");
  EXPECT_EQ(younger->birthdate(), "2000-01-01");
}

TEST_F(UsersTest, EveryChangeCountsTheVersionOn) {
  Exists(7);
  EXPECT_EQ(Get(As(7), 7)->version(), 1);
  EXPECT_EQ(Rename(As(7), 7, "Bea")->version(), 2);
  EXPECT_EQ(GiveRole(Boss(), 7, ROLE_SELLER)->version(), 3);
  EXPECT_EQ(Create(Person(7, ROLE_USER, "Cleo", 2))->version(), 4);
  EXPECT_EQ(Get(As(7), 7)->version(), 4);
}

TEST_F(UsersTest, AChangeForAnotherVersionChangesNothing) {
  Exists(7);
  v1::UpdateUserRequest change;
  change.set_id(7);
  change.set_name("Bea");
  change.add_if_versions(2);
  const Result<v1::User> refused = Call<v1::User>(As(7), "UpdateUser", change);
  EXPECT_EQ(Outcome(refused), "FAILED_PRECONDITION");
  EXPECT_EQ(refused.refusal().reason, "VERSION_CHANGED");
  v1::UpdateUserRoleRequest role;
  role.set_id(7);
  role.set_role(ROLE_SELLER);
  role.add_if_versions(2);
  EXPECT_EQ(Call<v1::User>(Boss(), "UpdateUserRole", role).refusal().reason, "VERSION_CHANGED");
  v1::DeleteUserRequest deletion;
  deletion.set_id(7);
  deletion.add_if_versions(2);
  EXPECT_EQ(Call<Empty>(Boss(), "DeleteUser", deletion).refusal().reason, "VERSION_CHANGED");
  EXPECT_EQ(Get(As(7), 7)->name(), "Ann");

  change.add_if_versions(1);
  EXPECT_EQ(Call<v1::User>(As(7), "UpdateUser", change)->version(), 2);
  EXPECT_EQ(Call<v1::User>(Boss(), "UpdateUserRole", role)->version(), 3);
  EXPECT_EQ(Outcome(Call<v1::User>(As(8), "UpdateUser", change)), "NOT_FOUND");
  deletion.add_if_versions(3);
  EXPECT_EQ(Outcome(Call<Empty>(Boss(), "DeleteUser", deletion)), "OK");
  EXPECT_EQ(Outcome(Call<v1::User>(As(900, ROLE_ADMIN), "UpdateUser", change)), "NOT_FOUND");
}

TEST_F(UsersTest, OfManyChangesForOneVersionOneIsMade) {
  Exists(7);
  constexpr int kRounds = 10;
  constexpr int kRivals = 4;
  for (int64_t version = 1; version <= kRounds; ++version) {
    std::atomic<int> made = 0;
    std::barrier start(kRivals);
    std::vector<std::thread> rivals;
    for (int rival = 0; rival < kRivals; ++rival) {
      rivals.emplace_back([&, rival] {
        v1::UpdateUserRequest change;
        change.set_id(7);
        change.set_name("Name " + std::to_string(rival));
        change.add_if_versions(version);
        start.arrive_and_wait();
        if (Call<v1::User>(As(7), "UpdateUser", change)) ++made;
      });
    }
    for (std::thread& rival : rivals) rival.join();
    ASSERT_EQ(made, 1);
  }
  EXPECT_EQ(Get(As(7), 7)->version(), kRounds + 1);
}

TEST_F(UsersTest, NobodyChangesAnother) {
  Exists(7);
  EXPECT_EQ(Outcome(Rename(As(8), 7, "Eve")), "NOT_FOUND");
  EXPECT_EQ(Outcome(Rename(As(900, ROLE_ADMIN), 7, "Eva")), "OK");
  EXPECT_EQ(Get(Auth(), 7)->name(), "Eva");
}

TEST_F(UsersTest, ABlankNameIsRefused) {
  Exists(7);
  EXPECT_EQ(Outcome(Rename(As(7), 7, "")), "INVALID_ARGUMENT");
  EXPECT_EQ(Outcome(Rename(As(7), 7, "   ")), "INVALID_ARGUMENT");
}

TEST_F(UsersTest, OnlyASuperAdminGivesRoles) {
  Exists(7);
  EXPECT_EQ(Outcome(GiveRole(As(7), 7, ROLE_ADMIN)), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(GiveRole(As(900, ROLE_ADMIN), 7, ROLE_ADMIN)), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(GiveRole(Boss(), 7, ROLE_GUEST)), "INVALID_ARGUMENT");
  EXPECT_EQ(Outcome(GiveRole(Boss(), 8, ROLE_ADMIN)), "NOT_FOUND");
  const Result<v1::User> user = GiveRole(Boss(), 7, ROLE_ADMIN);
  ASSERT_TRUE(user) << user.refusal().message;
  EXPECT_EQ(user->role(), ROLE_ADMIN);
}

TEST_F(UsersTest, AnotherRoleIsAnnouncedOnce) {
  Exists(7);
  ASSERT_TRUE(GiveRole(Boss(), 7, ROLE_SELLER));
  const Result<v1::User> again = GiveRole(Boss(), 7, ROLE_SELLER);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->version(), 2);
  EXPECT_THAT(Published(), ElementsAre("USER_REGISTERED 7", "USER_ROLE_CHANGED 7"));
  events::v1::UserRoleChanged event;
  ASSERT_TRUE(messaging::ReadValue(testing::PublishedEvents(db_).back().value, &event));
  EXPECT_EQ(event.role(), ROLE_SELLER);
  EXPECT_EQ(event.version(), 2);
}

TEST_F(UsersTest, TheLastSuperAdminKeepsTheRole) {
  Exists(1, ROLE_SUPER_ADMIN);
  const testing::Credentials one = As(1, ROLE_SUPER_ADMIN);
  for (const testing::Credentials& who : {one, Auth()}) {
    EXPECT_EQ(Outcome(GiveRole(who, 1, ROLE_USER)), "FAILED_PRECONDITION");
    EXPECT_EQ(Outcome(GiveRole(who, 1, ROLE_SUPER_ADMIN)), "OK");
  }
  Exists(2, ROLE_SUPER_ADMIN);
  EXPECT_EQ(Outcome(GiveRole(one, 1, ROLE_USER)), "OK");
  EXPECT_EQ(Outcome(GiveRole(As(2, ROLE_SUPER_ADMIN), 2, ROLE_ADMIN)), "FAILED_PRECONDITION");
}

TEST_F(UsersTest, TwoSuperAdminsCannotUnseatEachOtherAtOnce) {
  for (int round = 0; round < 10; ++round) {
    const int64_t first = 10 + 2 * round;
    Exists(first, ROLE_SUPER_ADMIN);
    Exists(first + 1, ROLE_SUPER_ADMIN);
    std::barrier start(2);
    std::string outcomes[2];
    std::thread threads[2];
    for (int i = 0; i < 2; ++i) {
      threads[i] = std::thread([&, i] {
        const testing::Credentials self = As(first + i, ROLE_SUPER_ADMIN);
        const int64_t other = first + 1 - i;
        start.arrive_and_wait();
        outcomes[i] = round % 2 == 0 ? Outcome(GiveRole(self, other, ROLE_USER))
                                     : Outcome(Delete(self, other));
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(outcomes, ::testing::UnorderedElementsAre("OK", "PERMISSION_DENIED"));
  }
}

TEST_F(UsersTest, TheTokenOfAFormerSuperAdminGivesNoPower) {
  Exists(1, ROLE_SUPER_ADMIN);
  Exists(2, ROLE_SUPER_ADMIN);
  Exists(7);
  ASSERT_TRUE(GiveRole(Boss(), 1, ROLE_USER));
  ASSERT_TRUE(Delete(Boss(), 2));
  for (const int64_t former : {1, 2}) {
    const testing::Credentials old_token = As(former, ROLE_SUPER_ADMIN);
    EXPECT_EQ(Outcome(GiveRole(old_token, former, ROLE_SUPER_ADMIN)), "PERMISSION_DENIED");
    EXPECT_EQ(Outcome(GiveRole(old_token, 7, ROLE_ADMIN)), "PERMISSION_DENIED");
    EXPECT_EQ(Outcome(Delete(old_token, 7)), "PERMISSION_DENIED");
    v1::CreateUserRequest friend_of_theirs = Person(8, ROLE_SUPER_ADMIN);
    friend_of_theirs.set_granted_by(former);
    EXPECT_EQ(Create(friend_of_theirs).refusal().reason, "ROLE_NOT_GRANTED");
    friend_of_theirs.set_granted_by(1000);
    EXPECT_EQ(Outcome(Create(friend_of_theirs)), "OK");
  }
  EXPECT_EQ(Get(Auth(), 7)->role(), ROLE_USER);
}

TEST_F(UsersTest, APromotionWaitsForTheDemotionUnderWay) {
  Exists(1, ROLE_SUPER_ADMIN);
  Exists(2, ROLE_SUPER_ADMIN);
  Exists(7);
  v1::CreateUserRequest person = Person(8, ROLE_ADMIN);
  person.set_granted_by(1);
  std::string promoted, created;
  std::thread promotion, creation;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    UpdateRole(tx, 1, ROLE_USER);
    promotion = std::thread(
        [&] { promoted = Outcome(GiveRole(As(1, ROLE_SUPER_ADMIN), 7, ROLE_SUPER_ADMIN)); });
    creation = std::thread([&] { created = Outcome(Create(person)); });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) == 2; }));
  });
  promotion.join();
  creation.join();
  EXPECT_EQ(promoted, "PERMISSION_DENIED");
  EXPECT_EQ(created, "FAILED_PRECONDITION");
}

TEST_F(UsersTest, ADeletedUserIsGone) {
  Exists(7);
  EXPECT_EQ(Outcome(Delete(Boss(), 7)), "OK");
  EXPECT_EQ(Outcome(Get(Auth(), 7)), "NOT_FOUND");
  EXPECT_THAT(Find("person7"), IsEmpty());
  EXPECT_THAT(Published(), ElementsAre("USER_REGISTERED 7", "USER_DELETED 7"));
}

TEST_F(UsersTest, DeletingTwiceAnnouncesOnce) {
  Exists(7);
  EXPECT_EQ(Outcome(Delete(Boss(), 7)), "OK");
  EXPECT_EQ(Outcome(Delete(Boss(), 7)), "OK");
  EXPECT_THAT(Published(), ElementsAre("USER_REGISTERED 7", "USER_DELETED 7"));
}

TEST_F(UsersTest, ADeletedIdNeverComesBack) {
  Exists(7);
  ASSERT_TRUE(Delete(Boss(), 7));
  EXPECT_EQ(Outcome(Create(Person(7, ROLE_USER, "Ann", 2))), "FAILED_PRECONDITION");
  EXPECT_EQ(Outcome(Get(Auth(), 7)), "NOT_FOUND");
}

TEST_F(UsersTest, ACreationWaitsForTheDeletionUnderWay) {
  Exists(7);
  std::string outcome;
  std::thread creation;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    LockId(tx, 7);
    users::Delete(tx, 7);
    creation = std::thread([&] { outcome = Outcome(Create(Person(7, ROLE_USER, "Ann", 2))); });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) == 1; }));
  });
  creation.join();
  EXPECT_EQ(outcome, "FAILED_PRECONDITION");
  EXPECT_EQ(Outcome(Get(Auth(), 7)), "NOT_FOUND");
}

TEST_F(UsersTest, OnlyASuperAdminDeletesOthers) {
  Exists(7);
  Exists(8, ROLE_SELLER);
  for (const api::v1::Role role : {ROLE_USER, ROLE_SELLER}) {
    EXPECT_EQ(Outcome(Delete(As(8, role), 7)), "NOT_FOUND");
  }
  EXPECT_EQ(Outcome(Delete(As(900, ROLE_ADMIN), 7)), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Delete(As(900, ROLE_ADMIN), 9)), "NOT_FOUND");
  EXPECT_EQ(Outcome(Delete(Boss(), 9)), "NOT_FOUND");
  EXPECT_EQ(Outcome(Get(Auth(), 7)), "OK");
}

TEST_F(UsersTest, WhoeverLikesDeletesThemselves) {
  Exists(7);
  Exists(8, ROLE_ADMIN);
  EXPECT_EQ(Outcome(Delete(As(7), 7)), "OK");
  EXPECT_EQ(Outcome(Delete(As(7), 7)), "OK") << "the answer was lost";
  EXPECT_EQ(Outcome(Delete(As(8, ROLE_ADMIN), 8)), "OK");
  EXPECT_EQ(Outcome(Get(Auth(), 7)), "NOT_FOUND");
  EXPECT_THAT(Published(), ElementsAre("USER_REGISTERED 7", "USER_REGISTERED 8", "USER_DELETED 7",
                                       "USER_DELETED 8"));
}

TEST_F(UsersTest, OfSuperAdminsWhoDeleteThemselvesAtOnceOneStays) {
  Exists(1, ROLE_SUPER_ADMIN);
  Exists(2, ROLE_SUPER_ADMIN);
  std::vector<std::string> outcomes(2);
  std::barrier start(2);
  std::vector<std::jthread> leaving;
  for (int64_t id = 1; id <= 2; ++id) {
    leaving.emplace_back([&, id] {
      start.arrive_and_wait();
      outcomes[static_cast<size_t>(id - 1)] = Outcome(Delete(As(id, ROLE_SUPER_ADMIN), id));
    });
  }
  leaving.clear();
  EXPECT_THAT(outcomes, ::testing::UnorderedElementsAre("OK", "FAILED_PRECONDITION"));
  const int64_t left = outcomes[0] == "OK" ? 2 : 1;
  EXPECT_EQ(Outcome(Get(Auth(), left)), "OK");
  EXPECT_EQ(Outcome(Delete(As(900, ROLE_ADMIN), left)), "PERMISSION_DENIED");
}

TEST_F(UsersTest, TheListComesInPagesNewestFirst) {
  for (int64_t id = 1; id <= 5; ++id) Exists(id);
  v1::ListUsersRequest request;
  request.set_page(2);
  request.set_limit(2);
  const Result<v1::ListUsersResponse> list =
      Call<v1::ListUsersResponse>(As(900, ROLE_ADMIN), "ListUsers", request);
  ASSERT_TRUE(list) << list.refusal().message;
  ASSERT_EQ(list->items_size(), 2);
  EXPECT_EQ(list->items(0).id(), 3);
  EXPECT_EQ(list->items(1).id(), 2);
  EXPECT_EQ(list->page(), 2);
  EXPECT_EQ(list->limit(), 2);
  EXPECT_EQ(list->total(), 5);
  EXPECT_EQ(list->total_pages(), 3);
}

TEST_F(UsersTest, ByCursorNobodyIsRepeatedOrLeftOutWhileOthersComeAndGo) {
  for (int64_t id = 1; id <= 9; ++id) Exists(id);
  v1::ListUsersRequest request;
  request.set_limit(2);
  std::vector<int64_t> seen;
  for (int64_t newcomer = 100; newcomer < 110; ++newcomer) {
    const Result<v1::ListUsersResponse> list =
        Call<v1::ListUsersResponse>(As(900, ROLE_ADMIN), "ListUsers", request);
    ASSERT_TRUE(list) << list.refusal().message;
    EXPECT_EQ(list->has_total(), request.cursor().empty());
    for (const v1::User& user : list->items()) seen.push_back(user.id());
    if (!list->has_next_cursor()) break;
    request.set_cursor(list->next_cursor());
    Exists(newcomer);
    ASSERT_TRUE(Delete(Boss(), seen.back()));
  }
  EXPECT_THAT(seen, ElementsAre(9, 8, 7, 6, 5, 4, 3, 2, 1));
}

TEST_F(UsersTest, ACursorOfAnotherSearchIsRefused) {
  for (int64_t id = 1; id <= 3; ++id) Exists(id);
  v1::ListUsersRequest request;
  request.set_limit(1);
  const auto list = [&] {
    return Call<v1::ListUsersResponse>(As(900, ROLE_ADMIN), "ListUsers", request);
  };
  request.set_cursor(list()->next_cursor());
  EXPECT_TRUE(list());
  request.set_q("ann");
  ASSERT_FALSE(list());
  EXPECT_EQ(list().refusal().details.at(0).field, "cursor");
}

TEST_F(UsersTest, APageBehindTheLastIsEmpty) {
  Exists(1);
  v1::ListUsersRequest request;
  request.set_page(100);
  request.set_limit(100);
  const auto list = [&] {
    return Call<v1::ListUsersResponse>(As(900, ROLE_ADMIN), "ListUsers", request);
  };
  ASSERT_TRUE(list());
  EXPECT_EQ(list()->items_size(), 0);
  EXPECT_EQ(list()->total(), 1);
  request.set_page(101);
  ASSERT_FALSE(list());
  EXPECT_EQ(list().refusal().details.at(0).field, "page");
}

TEST_F(UsersTest, TheSearchTakesItsTextLiterally) {
  Exists(1, ROLE_USER, "Ann_Lee");
  Exists(2, ROLE_USER, "AnnXLee");
  Exists(3, ROLE_USER, "100% Bob\\");
  EXPECT_THAT(Find("ann_l"), ElementsAre(1));
  EXPECT_THAT(Find("100%"), ElementsAre(3));
  EXPECT_THAT(Find("ann%lee"), IsEmpty());
  EXPECT_THAT(Find("bob\\"), ElementsAre(3));
  EXPECT_THAT(Find("PERSON2@"), ElementsAre(2));
  EXPECT_THAT(Find(""), ElementsAre(3, 2, 1));
  EXPECT_THAT(Find("'; DROP TABLE profiles; --"), IsEmpty());
}

TEST_F(UsersTest, OnlyAdminsListUsers) {
  EXPECT_EQ(Outcome(Call<v1::ListUsersResponse>(As(7), "ListUsers", v1::ListUsersRequest())),
            "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Call<v1::ListUsersResponse>({}, "ListUsers", v1::ListUsersRequest())),
            "UNAUTHENTICATED");
}

TEST_F(UsersTest, AnAddressIsConfirmedOnceAndNoOther) {
  Exists(7);
  EXPECT_FALSE(Get(As(7), 7)->email_confirmed());
  v1::ConfirmEmailRequest request;
  request.set_id(7);
  request.set_email("somebody.else@example.com");
  EXPECT_EQ(Call<v1::User>(Auth(), "ConfirmEmail", request).refusal().code, Code::kNotFound);
  EXPECT_FALSE(Get(As(7), 7)->email_confirmed());
  request.set_email("person7@example.com");
  for (int again = 0; again < 2; ++again) {
    const Result<v1::User> confirmed = Call<v1::User>(Auth(), "ConfirmEmail", request);
    ASSERT_TRUE(confirmed) << confirmed.refusal().message;
    EXPECT_TRUE(confirmed->email_confirmed());
    EXPECT_EQ(confirmed->version(), 2);
  }
  ASSERT_TRUE(Rename(As(7), 7, "Ann B."));
  EXPECT_TRUE(Get(As(7), 7)->email_confirmed());
  request.set_id(8);
  EXPECT_EQ(Call<v1::User>(Auth(), "ConfirmEmail", request).refusal().code, Code::kNotFound);
}

TEST_F(UsersTest, AnotherAddressIsNotConfirmedWhoeverChangesIt) {
  Exists(7);
  v1::ConfirmEmailRequest request;
  request.set_id(7);
  request.set_email("person7@example.com");
  ASSERT_TRUE(Call<v1::User>(Auth(), "ConfirmEmail", request));
  postgres::InTransaction(
      db_, [](postgres::Tx& tx) { tx.Run("UPDATE profiles SET email = 'another@example.com'"); });
  EXPECT_FALSE(Get(As(7), 7)->email_confirmed());
  EXPECT_EQ(Call<v1::User>(Auth(), "ConfirmEmail", request).refusal().code, Code::kNotFound)
      << "the token of the address before comes late";
}

TEST_F(UsersTest, WhoFinishesARegistrationHasConfirmedNothing) {
  Exists(7);
  v1::ConfirmEmailRequest request;
  request.set_id(7);
  request.set_email("person7@example.com");
  ASSERT_TRUE(Call<v1::User>(Auth(), "ConfirmEmail", request));
  const Result<v1::User> other = Create(Person(7, ROLE_USER, "Eve", 2));
  ASSERT_TRUE(other) << other.refusal().message;
  EXPECT_FALSE(other->email_confirmed());
}

TEST_F(UsersTest, TheAuditLogSaysWhoseRegistrationGaveMoreThanUser) {
  Boss();
  v1::CreateUserRequest given = Person(8, ROLE_SUPER_ADMIN);
  given.set_granted_by(1000);
  EXPECT_TRUE(Create(given));
  EXPECT_TRUE(Create(given)) << "repeated";
  EXPECT_TRUE(Create(Person(9, ROLE_ADMIN, "First", 1)));
  EXPECT_TRUE(Create(Person(9, ROLE_SELLER, "Second", 2)));
  EXPECT_TRUE(Create(Person(10)));
  EXPECT_THAT(audit::testing::Entries(db_),
              ElementsAre("GUEST 0: USER_CREATED user 8, by user 1000, role SUPER_ADMIN",
                          "GUEST 0: USER_CREATED user 9, role ADMIN",
                          "GUEST 0: USER_CREATED user 9, role SELLER"));
}

TEST_F(UsersTest, TheAuditLogSaysWhoGaveARoleAndWhoDeletedWhom) {
  Exists(7);
  EXPECT_TRUE(GiveRole(Boss(), 7, ROLE_SELLER));
  EXPECT_TRUE(GiveRole(Boss(), 7, ROLE_SELLER)) << "which they have";
  EXPECT_FALSE(GiveRole(As(7, ROLE_SELLER), 7, ROLE_ADMIN));
  EXPECT_TRUE(Delete(Boss(), 7));
  EXPECT_TRUE(Delete(Boss(), 7)) << "who is gone";
  EXPECT_THAT(audit::testing::Entries(db_),
              ElementsAre("SUPER_ADMIN 1000: ROLE_CHANGED user 7, from USER, to SELLER",
                          "SUPER_ADMIN 1000: USER_DELETED user 7"));
}

}  // namespace
}  // namespace shop::users
