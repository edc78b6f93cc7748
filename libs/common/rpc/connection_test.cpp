// What gRPC says of calls whose connection ends, by a server that this test plays frame by frame.
#include "common/rpc/connection.h"

#include <gmock/gmock.h>
#include <google/protobuf/empty.pb.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "common/core/result.h"
#include "common/rpc/client.h"
#include "common/rpc/unary_call.h"
#include "common/testing/loopback_listener.h"

namespace shop::rpc {
namespace {

constexpr size_t kPrefaceSize = 24;
constexpr char kHeaders = 1;
constexpr char kSettings = 4;
constexpr char kGoAway = 7;
constexpr uint32_t kAnyStream = 0x7fffffff;
constexpr uint32_t kCall = 3;  // the second stream of a connection

// RFC 9113, section 4.1; of the connection itself, which is stream 0.
std::string Frame(char type, const std::string& payload) {
  return std::string{0, 0, static_cast<char>(payload.size()), type, 0, 0, 0, 0, 0} + payload;
}

// The last stream that is still looked at, and no error.
std::string GoAway(uint32_t last_stream) {
  return Frame(kGoAway,
               {static_cast<char>(last_stream >> 24), static_cast<char>(last_stream >> 16),
                static_cast<char>(last_stream >> 8), static_cast<char>(last_stream), 0, 0, 0, 0});
}

// A header of HPACK that no table knows (RFC 7541, section 6.2.2).
std::string Header(const std::string& name, const std::string& value) {
  return std::string{0, static_cast<char>(name.size())} + name + static_cast<char>(value.size()) +
         value;
}

// Says to the first call of a connection, by which a client asks for the server's health, that there is no such
// method: the server is called then.
std::string NoHealth() {
  constexpr char kStatus200 = '\x88';
  constexpr char kEndStreamAndHeaders = 5;
  std::string frame = Frame(kHeaders, kStatus200 + Header("content-type", "application/grpc") +
                                          Header("grpc-status", "12"));
  frame[4] = kEndStreamAndHeaders;
  frame[8] = 1;
  return frame;
}

// Takes connections one after the other. Once a call has come it says `farewell`, and ends the connection:
// at once, or when the client does.
class Server {
 public:
  Server(std::string farewell, bool ends_at_once)
      : farewell_(std::move(farewell)), ends_at_once_(ends_at_once), thread_([this] { Run(); }) {}
  ~Server() {
    listener_.Shutdown();
    thread_.join();
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(listener_.port()); }
  int calls() const { return calls_; }

 private:
  void Run() {
    for (int client = 0; (client = listener_.Accept()) >= 0; close(client)) {
      Send(client, Frame(kSettings, ""));
      if (!Read(client, kPrefaceSize) || !AwaitCall(client)) continue;
      Send(client, NoHealth());
      if (AwaitCall(client)) {
        ++calls_;
        Send(client, farewell_);
        while (!ends_at_once_ && Read(client, 1)) {
        }
      }
    }
  }

  static void Send(int client, const std::string& bytes) {
    EXPECT_EQ(send(client, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  static std::optional<std::string> Read(int client, size_t size) {
    std::string bytes(size, '\0');
    if (size != 0 && recv(client, bytes.data(), size, MSG_WAITALL) != static_cast<ssize_t>(size))
      return {};
    return bytes;
  }

  static bool AwaitCall(int client) {
    while (const auto head = Read(client, 9)) {
      size_t size = 0;
      for (int i = 0; i < 3; ++i) size = size << 8 | static_cast<unsigned char>((*head)[i]);
      if (!Read(client, size)) return false;
      if ((*head)[3] == kHeaders) return true;
    }
    return false;
  }

  std::string farewell_;
  bool ends_at_once_;
  testing::LoopbackListener listener_;
  std::atomic<int> calls_ = 0;
  std::thread thread_;  // the last: it uses the others
};

// What becomes of a call, which is the first of its connection.
grpc::Status CallOf(const Server& server) {
  UnaryStub stub(grpc::CreateCustomChannel(server.address(), grpc::InsecureChannelCredentials(),
                                           ConnectionArguments()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  google::protobuf::Empty answer;
  return CallUnary(stub, "/shop.testing.v1.Any/Call", &context, google::protobuf::Empty(), &answer);
}

TEST(NotTaken, ACallThatTheServerSaysItHasNotLookedAt) {
  const Server server(GoAway(0), false);
  const grpc::Status status = CallOf(server);
  EXPECT_TRUE(NotTaken(status)) << status.error_code() << " " << status.error_message();
}

TEST(NotTaken, IsNoCallWhoseConnectionBrokeAfterTheServerHadLookedAtIt) {
  for (const std::string& farewell : {GoAway(kAnyStream), GoAway(kCall), std::string()}) {
    const Server server(farewell, true);
    const grpc::Status status = CallOf(server);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    EXPECT_FALSE(NotTaken(status)) << status.error_message();
  }
}

TEST(NotTaken, IsNoCallThatWasAnswered) {
  EXPECT_FALSE(NotTaken(grpc::Status::OK));
  EXPECT_FALSE(NotTaken({grpc::StatusCode::UNAVAILABLE, "too busy, try again"}));
  EXPECT_FALSE(NotTaken({grpc::StatusCode::INTERNAL, "GOAWAY received"}));
}

void Invoke(const Server& server) {
  const Channel channel("products", server.address(), Tls());
  google::protobuf::Empty answer;
  (void)channel.Invoke("/shop.testing.v1.Any/Call", BackgroundCall({}, std::chrono::seconds(20)),
                       google::protobuf::Empty(), &answer);
}

TEST(Channel, MakesACallAgainThatWasNotTakenAFewTimes) {
  const Server server(GoAway(0), false);
  EXPECT_THROW(Invoke(server), Unavailable);
  EXPECT_EQ(server.calls(), 1 + kMaxRepeats);
}

TEST(Channel, MakesNoCallTwiceThatMayHaveRun) {
  const Server server(GoAway(kCall), true);
  EXPECT_THROW(Invoke(server), Unavailable);
  EXPECT_EQ(server.calls(), 1);
}

}  // namespace
}  // namespace shop::rpc
