#include "common/http/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "common/testing/loopback_listener.h"

namespace shop {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// Answers each connection with the same text, and keeps what it was sent.
class Server {
 public:
  explicit Server(std::string answer)
      : answer_(std::move(answer)), thread_([this] {
          for (int client; (client = listener_.Accept()) >= 0; close(client)) {
            char bytes[4096];
            const ssize_t got = read(client, bytes, sizeof bytes);
            if (got > 0) received_.assign(bytes, static_cast<size_t>(got));
            (void)!write(client, answer_.data(), answer_.size());
          }
        }) {}
  ~Server() { Stop(); }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(listener_.port()) + "/a"; }
  // What the last request was.
  const std::string& Stop() {
    listener_.Shutdown();
    if (thread_.joinable()) thread_.join();
    return received_;
  }

 private:
  const std::string answer_;
  std::string received_;
  testing::LoopbackListener listener_;
  std::thread thread_;
};

TEST(HttpClient, SendsWhatItIsGivenAndAnswersWhatComes) {
  Server server("HTTP/1.1 402 x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
  HttpClient client({});
  const HttpReply reply =
      client.Send({.method = "POST", .url = server.url(), .headers = {"A: b"}, .body = "{}"});
  EXPECT_EQ(reply.status, 402);
  EXPECT_EQ(reply.body, "no");
  const std::string received = server.Stop();
  EXPECT_THAT(received, HasSubstr("POST /a HTTP/1.1\r\n"));
  EXPECT_THAT(received, HasSubstr("A: b\r\n"));
  EXPECT_THAT(received, HasSubstr("\r\n\r\n{}"));
}

TEST(HttpClient, HasNoAnswerWhereItIsCutOffOrTooLong) {
  Server cut("HTTP/1.1 200 x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nno");
  Server garbage("what?\r\n");
  Server large("HTTP/1.1 200 x\r\nContent-Length: 9\r\nConnection: close\r\n\r\n123456789");
  HttpClient client({.max_body_bytes = 8});
  for (const Server* server : {&cut, &garbage, &large}) {
    const HttpReply reply = client.Send({.url = server->url()});
    EXPECT_EQ(reply.status, 0);
    EXPECT_EQ(reply.body, "");
    EXPECT_NE(reply.error, "");
  }
  EXPECT_EQ(client.Send({.url = "http://127.0.0.1:1/"}).status, 0);
}

TEST(HttpClient, FollowsNoRedirect) {
  Server server("HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(HttpClient({}).Send({.url = server.url()}).status, 302);
}

TEST(HttpClient, GivesUpWhenItIsStopped) {
  const testing::LoopbackListener silent;
  HttpClient client({.timeout = milliseconds(600'000)});
  std::stop_source stop;
  std::thread stopper([&] {
    silent.Accept();
    stop.request_stop();
  });
  const HttpReply reply =
      client.Send({.url = "http://127.0.0.1:" + std::to_string(silent.port())}, stop.get_token());
  stopper.join();
  EXPECT_EQ(reply.status, 0);
}

TEST(HttpUrl, IsHttpOrHttps) {
  for (const char* url : {"http://a", "https://a:1/b"}) EXPECT_TRUE(IsHttpUrl(url)) << url;
  for (const char* url : {"", "a", "ftp://a", "smtp://a", "http://"}) {
    EXPECT_FALSE(IsHttpUrl(url)) << url;
  }
}

}  // namespace
}  // namespace shop
