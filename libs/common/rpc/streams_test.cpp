// Streams through real gRPC, of a service whose data are in memory.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/rpc/stream_hub.h"
#include "common/rpc/testing/watch.grpc.pb.h"
#include "common/telemetry/metrics.h"
#include "common/testing/callers.h"
#include "common/testing/servers.h"

namespace shop::rpc {
namespace {

using shop::testing::watch::v1::Tick;
using shop::testing::watch::v1::WatchRequest;
using shop::testing::watch::v1::WatchService;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Eventually;

constexpr size_t kPage = 2;

// Ticks by key, numbered from 1.
class Ticks {
 public:
  void Commit(int64_t key, std::string text = "tick") {
    const std::lock_guard lock(mutex_);
    ticks_[key].push_back(std::move(text));
  }
  std::vector<Tick> After(int64_t key, int64_t after) {
    const std::lock_guard lock(mutex_);
    ++reads_[key];
    const std::vector<std::string>& all = ticks_[key];
    std::vector<Tick> page;
    for (auto i = static_cast<size_t>(after); i < all.size() && page.size() < kPage; ++i) {
      page.emplace_back().set_id(static_cast<int64_t>(i) + 1);
      page.back().set_text(all[i]);
    }
    return page;
  }
  std::map<int64_t, int64_t> Newest(const std::vector<int64_t>& keys) {
    const std::lock_guard lock(mutex_);
    asked_ = keys;
    std::map<int64_t, int64_t> newest;
    for (const int64_t key : keys) newest[key] = static_cast<int64_t>(ticks_[key].size());
    return newest;
  }
  int reads(int64_t key) {
    const std::lock_guard lock(mutex_);
    return reads_[key];
  }
  std::vector<int64_t> asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  std::mutex mutex_;
  std::map<int64_t, std::vector<std::string>> ticks_;
  std::map<int64_t, int> reads_;
  std::vector<int64_t> asked_;
};

class FakeWatch {
 public:
  explicit FakeWatch(milliseconds poll)
      : hub([this](const std::vector<int64_t>& keys) { return ticks.Newest(keys); }, poll) {}

  rpc::Service Methods() {
    return rpc::Service("shop.testing.watch.v1.WatchService")
        .OnStream("Watch", this, &FakeWatch::Watch);
  }
  Result<Stream<Tick>> Watch(const Call&, const WatchRequest& request) {
    if (request.key() == 404) return Refusal{Code::kNotFound, "there is no such key"};
    return Stream<Tick>{&hub, request.key(), request.after(),
                        [this, key = request.key()](int64_t after) {
                          std::vector<Tick> page = ticks.After(key, after);
                          if (const auto hook = std::exchange(after_read, nullptr)) hook();
                          return page;
                        }};
  }
  void CommitAndWake(int64_t key, std::string text = "tick") {
    ticks.Commit(key, std::move(text));
    hub.Wake(key);
  }

  Ticks ticks;
  std::function<void()> after_read;  // once, on the thread that has read
  StreamHub hub;
};

// A client of one stream.
class Watcher {
 public:
  Watcher(const std::string& address, const std::string& token, int64_t key, int64_t after = 0)
      : stub_(WatchService::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    context_.set_deadline(std::chrono::system_clock::now() + seconds(20));
    if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
    WatchRequest request;
    request.set_key(key);
    request.set_after(after);
    reader_ = stub_->Watch(&context_, request);
  }
  ~Watcher() { Status(); }

  // The id of the next message, 0 at the end.
  int64_t Next() { return reader_->Read(&tick_) ? tick_.id() : 0; }
  void WaitUntilOpen() { reader_->WaitForInitialMetadata(); }
  void Cancel() { context_.TryCancel(); }
  // Cancels the stream unless it is at its end.
  grpc::Status Status() {
    if (!reader_) return status_;
    if (!ended_) Cancel();
    status_ = reader_->Finish();
    reader_.reset();
    return status_;
  }
  // Reads to the end.
  grpc::Status StatusAtTheEnd() {
    while (Next() != 0) {
    }
    ended_ = true;
    return Status();
  }

 private:
  std::unique_ptr<WatchService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<Tick>> reader_;
  Tick tick_;
  bool ended_ = false;
  grpc::Status status_;
};

class StreamsTest : public ::testing::Test {
 protected:
  // A poll that comes too late for any test, unless it is asked for.
  void Start(milliseconds poll = seconds(3600)) {
    identity_.users().Prepare();
    ASSERT_TRUE(Eventually([this] { return identity_.users().HasKeys(); }));
    watch_ = std::make_unique<FakeWatch>(poll);
    server_ =
        std::make_unique<Server>(ServerSettings{.host = "127.0.0.1", .threads = 2, .queue = 100},
                                 identity_, std::vector<Service>{watch_->Methods()});
  }
  std::unique_ptr<Watcher> Open(int64_t key, int64_t after = 0) {
    return std::make_unique<Watcher>(server_->address(), callers_.User(7).token, key, after);
  }
  static double OpenStreams() {
    for (const auto& family : Metrics().Collect()) {
      if (family.name == "rpc_streams") return family.metric.at(0).gauge.value;
    }
    return -1;
  }

  testing::Callers callers_;
  Identity identity_{testing::IdentityOf("watch"), callers_.Keys()};
  std::unique_ptr<FakeWatch> watch_;
  std::unique_ptr<Server> server_;
};

TEST_F(StreamsTest, ShowsWhatThereIsAndThenWhatIsCommitted) {
  Start();
  for (int i = 0; i < 5; ++i) watch_->ticks.Commit(1);
  const auto watcher = Open(1);
  for (int64_t id = 1; id <= 5; ++id) EXPECT_EQ(watcher->Next(), id);
  watch_->CommitAndWake(2);
  watch_->CommitAndWake(1);
  EXPECT_EQ(watcher->Next(), 6);
}

TEST_F(StreamsTest, GoesOnAfterTheGivenIdWithoutAGapOrARepeatWhileMoreIsCommitted) {
  Start();
  constexpr int64_t kAll = 300;
  std::jthread committing([this] {
    for (int64_t i = 0; i < kAll; ++i) watch_->CommitAndWake(1);
  });
  int64_t seen = 0;
  while (seen < kAll) {
    const auto watcher = Open(1, seen);
    for (int i = 0; i < 50 && seen < kAll; ++i) {
      const int64_t next = watcher->Next();
      ASSERT_EQ(next, seen + 1);
      seen = next;
    }
  }
}

TEST_F(StreamsTest, WhatIsCommittedWhileTheFirstReadIsUnderWayIsShown) {
  Start();
  watch_->after_read = [this] { watch_->CommitAndWake(1); };
  EXPECT_EQ(Open(1)->Next(), 1);
}

TEST_F(StreamsTest, WhatAnotherReplicaCommitsIsFoundByOnePollForAllKeys) {
  Start(milliseconds(20));
  const auto one = Open(1), two = Open(2), again = Open(2);
  ASSERT_TRUE(Eventually([&] { return watch_->ticks.asked() == std::vector<int64_t>{1, 2}; }));
  watch_->ticks.Commit(1);
  watch_->ticks.Commit(2);
  EXPECT_EQ(one->Next(), 1);
  EXPECT_EQ(two->Next(), 1);
  EXPECT_EQ(again->Next(), 1);
}

TEST_F(StreamsTest, ACommitWhoseKeyIsNotAtHandMakesThePollComeAtOnce) {
  Start();
  const auto watcher = Open(1);
  watcher->WaitUntilOpen();
  watch_->ticks.Commit(1);
  ASSERT_TRUE(Eventually([&] {
    watch_->hub.PollSoon();
    return !watch_->ticks.asked().empty();
  }));
  EXPECT_EQ(watcher->Next(), 1);
}

TEST_F(StreamsTest, NothingIsReadForAClientThatDoesNotReadAndOthersGoOn) {
  Start();
  constexpr int kMany = 60;
  const auto slow = Open(1);
  const auto quick = Open(2);
  for (int i = 0; i < kMany; ++i) watch_->CommitAndWake(1, std::string(512 * 1024, 'x'));
  for (int64_t id = 1; id <= kMany; ++id) {
    watch_->hub.Wake(1);
    watch_->CommitAndWake(2);
    ASSERT_EQ(quick->Next(), id);
  }
  EXPECT_LT(watch_->ticks.reads(1), kMany / 2);
  for (int64_t id = 1; id <= kMany; ++id) ASSERT_EQ(slow->Next(), id);
}

TEST_F(StreamsTest, RefusesAsOtherMethodsDo) {
  Start();
  EXPECT_EQ(Watcher(server_->address(), "", 1).StatusAtTheEnd().error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Open(-1)->StatusAtTheEnd().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Open(404)->StatusAtTheEnd().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(StreamsTest, EndsWhenTheTokenExpires) {
  Start();
  const auth::TokenSigner signer(callers_.private_key_pem());
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(2));
  Watcher watcher(server_->address(), token, 1);
  const grpc::Status status = watcher.StatusAtTheEnd();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(status.error_message(), "the token has expired");
}

TEST_F(StreamsTest, EndsWithTheSessionOfItsToken) {
  Start();
  const auth::TokenSigner signer(callers_.private_key_pem());
  const std::string token = signer.Sign(7, api::v1::ROLE_USER, seconds(900), "mine");
  Watcher watcher(server_->address(), token, 1);
  watcher.WaitUntilOpen();
  identity_.users().Revoke("mine", std::chrono::system_clock::now() + seconds(900));
  const grpc::Status status = watcher.StatusAtTheEnd();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(status.error_message(), "the session of this token has ended");
}

TEST_F(StreamsTest, AServerThatStopsSendsItsClientsElsewhere) {
  Start();
  const auto watcher = Open(1);
  watcher->WaitUntilOpen();
  std::jthread stopping([this] { server_.reset(); });
  const grpc::Status status = watcher->StatusAtTheEnd();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "stopping, come back");
}

TEST_F(StreamsTest, NothingIsLeftOfAStreamWhoseClientHasGone) {
  Start(milliseconds(20));
  EXPECT_EQ(OpenStreams(), 0);
  const auto gone = Open(1), stays = Open(2);
  ASSERT_TRUE(Eventually([&] { return watch_->ticks.asked() == std::vector<int64_t>{1, 2}; }));
  EXPECT_EQ(OpenStreams(), 2);
  gone->Cancel();
  EXPECT_TRUE(Eventually([&] { return watch_->ticks.asked() == std::vector<int64_t>{2}; }));
  EXPECT_TRUE(Eventually([] { return OpenStreams() == 1; }));
}

TEST_F(StreamsTest, WaitsWhileTheDatabaseIsAway) {
  Start(milliseconds(20));
  watch_->ticks.Commit(1);
  watch_->after_read = [this] { throw Unavailable("the database is away"); };
  EXPECT_EQ(Open(1)->Next(), 1);
}

TEST_F(StreamsTest, AReadThatFailsOtherwiseEndsTheStream) {
  Start();
  watch_->after_read = [] { throw std::runtime_error("no such column"); };
  const grpc::Status status = Open(1)->StatusAtTheEnd();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), "internal error");
}

TEST(Streams, AStreamWithoutIdsIsAnErrorAtTheStart) {
  rpc::Service service("shop.testing.watch.v1.UnnumberedService");
  const auto refuse = [](const auto&...) -> Result<OpenedStream> { return Refusal{}; };
  EXPECT_THROW(service.OnStream(*service.descriptor()->method(0), refuse), std::logic_error);
}

}  // namespace
}  // namespace shop::rpc
