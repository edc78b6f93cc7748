// HTTP/1.1 requests to other people's services, through libcurl. Connections are kept from one request
// to the next.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

namespace shop {

bool IsHttpUrl(const std::string& url);

struct HttpCall {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers = {};  // "Name: value"
  std::string body = {};                  // sent with any other method than GET
  std::string content_type = "application/json";
};

struct HttpReply {
  int status = 0;  // 0: no whole answer has come, and the request may have had its effect or not
  std::string body = {};
  std::string error = {};  // why there is none, for the log
};

// Thread-safe.
class HttpClient {
 public:
  struct Settings {
    std::chrono::milliseconds connect_timeout{2'000};
    std::chrono::milliseconds timeout{5'000};  // of a whole request
    size_t max_body_bytes = 1024 * 1024;       // a longer answer is no answer
    // Whose certificates servers have to show; empty: those that the system trusts.
    std::string ca_file = {};
  };

  explicit HttpClient(const Settings& settings);
  ~HttpClient();

  // Follows no redirects. Gives up within a second of `stop`. Does not throw for what the network or
  // the server does.
  HttpReply Send(const HttpCall& call, const std::stop_token& stop = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop
