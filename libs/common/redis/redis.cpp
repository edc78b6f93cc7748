#include "common/redis/redis.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/time.h>

#include <charconv>
#include <chrono>
#include <condition_variable>
#include <string_view>
#include <utility>

#include "common/core/result.h"
#include "common/telemetry/log.h"

namespace shop::redis {
namespace {

constexpr timeval kPatience{0, 100'000};
constexpr std::chrono::milliseconds kReconnectEvery{500};
constexpr std::chrono::milliseconds kLook{200};
constexpr std::chrono::seconds kSilence{2};

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

// Null when the connection cannot be used any more.
Reply Send(redisContext* connection, const std::vector<std::string>& words) {
  std::vector<const char*> texts;
  std::vector<size_t> lengths;
  for (const std::string& word : words) {
    texts.push_back(word.data());
    lengths.push_back(word.size());
  }
  return Reply(static_cast<redisReply*>(
      redisCommandArgv(connection, static_cast<int>(words.size()), texts.data(), lengths.data())));
}

std::optional<std::string> Text(const redisReply& reply) {
  switch (reply.type) {
    case REDIS_REPLY_NIL:
      return std::nullopt;
    case REDIS_REPLY_INTEGER:
      return std::to_string(reply.integer);
    case REDIS_REPLY_ERROR:
      throw Unavailable("Redis: " + std::string(reply.str, reply.len));
    default:
      return std::string(reply.str, reply.len);
  }
}

template <typename Number>
bool ParseNumber(std::string_view text, Number* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

bool ParseUrl(std::string_view url, Settings* settings) {
  constexpr std::string_view kScheme = "redis://";
  if (!url.starts_with(kScheme)) return false;
  url.remove_prefix(kScheme.size());
  if (const size_t at = url.rfind('@'); at != std::string_view::npos) {
    const std::string_view login = url.substr(0, at);
    const size_t colon = login.find(':');
    if (colon == std::string_view::npos) return false;
    settings->user = login.substr(0, colon);
    settings->password = login.substr(colon + 1);
    url.remove_prefix(at + 1);
  }
  if (const size_t slash = url.find('/'); slash != std::string_view::npos) {
    const std::string_view database = url.substr(slash + 1);
    if (!database.empty() && !ParseNumber(database, &settings->database)) return false;
    url = url.substr(0, slash);
  }
  if (const size_t colon = url.rfind(':'); colon != std::string_view::npos) {
    if (!ParseNumber(url.substr(colon + 1), &settings->port)) return false;
    url = url.substr(0, colon);
  }
  settings->host = url;
  return !url.empty() && settings->port != 0 && settings->database >= 0;
}

Connection Connect(const Settings& settings) {
  Connection connection(redisConnectWithTimeout(settings.host.c_str(), settings.port, kPatience));
  if (!connection) throw Unavailable("no memory for a connection to Redis");
  const auto require = [&](bool holds) {
    if (!holds) throw Unavailable(std::string("cannot connect to Redis: ") + connection->errstr);
  };
  require(connection->err == 0 && redisSetTimeout(connection.get(), kPatience) == REDIS_OK);
  const auto greet = [&](const std::vector<std::string>& words) {
    const Reply reply = Send(connection.get(), words);
    require(reply != nullptr);
    Text(*reply);
  };
  if (!settings.user.empty()) {
    greet({"AUTH", settings.user, settings.password});
  } else if (!settings.password.empty()) {
    greet({"AUTH", settings.password});
  }
  if (settings.database != 0) greet({"SELECT", std::to_string(settings.database)});
  return connection;
}

}  // namespace

Settings Settings::Read(Env& env) {
  Settings settings;
  // May have a password in it.
  const std::string url = env.Secret("REDIS_URL").value_or("redis://127.0.0.1:6379");
  if (!ParseUrl(url, &settings)) {
    env.Wrong("REDIS_URL", "is not redis://[[user]:password@]host[:port][/database]");
  }
  return settings;
}

void Close::operator()(redisContext* context) const {
  redisFree(context);
}

Client::Client(Settings settings) : settings_(std::move(settings)) {}
Client::~Client() = default;

Connection Client::TakeIdle() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return nullptr;
  Connection connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

std::optional<std::string> Client::Command(const std::vector<std::string>& words) {
  Connection connection = TakeIdle();
  const bool reused = connection != nullptr;
  if (!reused) connection = Connect(settings_);
  Reply reply = Send(connection.get(), words);
  // A server that restarted has closed the idle connections; then the command is sent once more. A
  // server that is late is not asked twice.
  const bool closed = connection->err == REDIS_ERR_EOF ||
                      (connection->err == REDIS_ERR_IO && (errno == EPIPE || errno == ECONNRESET));
  if (!reply && reused && closed) {
    {
      const std::lock_guard lock(mutex_);
      idle_.clear();
    }
    connection = Connect(settings_);
    reply = Send(connection.get(), words);
  }
  if (!reply) throw Unavailable(std::string("Redis: ") + connection->errstr);
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(connection));
  return Text(*reply);
}

Subscription::Subscription(Settings settings, std::vector<std::string> channels, Listener listener)
    : settings_(std::move(settings)),
      channels_(std::move(channels)),
      listener_(std::move(listener)),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

Subscription::~Subscription() = default;

void Subscription::Run(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  bool away = false;
  while (!stop.stop_requested()) {
    try {
      Listen(stop);
    } catch (const Unavailable& error) {
      if (!std::exchange(away, true)) {
        log::Warning("no messages from Redis: the subscription failed", {{"error", error.what()}});
      }
    }
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, kReconnectEvery, [] { return false; });
  }
}

// Until it is stopped; throws once the connection is lost.
void Subscription::Listen(const std::stop_token& stop) {
  const Connection connection = Connect(settings_);
  const auto append = [&](const std::vector<std::string>& words) {
    std::vector<const char*> texts;
    std::vector<size_t> lengths;
    for (const std::string& word : words) {
      texts.push_back(word.data());
      lengths.push_back(word.size());
    }
    redisAppendCommandArgv(connection.get(), static_cast<int>(words.size()), texts.data(),
                           lengths.data());
    for (int sent = 0; sent == 0;) {
      if (redisBufferWrite(connection.get(), &sent) != REDIS_OK) {
        throw Unavailable(std::string("Redis: ") + connection->errstr);
      }
    }
  };
  std::vector<std::string> subscribe{"SUBSCRIBE"};
  subscribe.insert(subscribe.end(), channels_.begin(), channels_.end());
  append(subscribe);

  size_t subscribed = 0;
  bool told = false;
  const auto end = [&] {
    if (std::exchange(told, false)) listener_.lost();
  };
  auto received = std::chrono::steady_clock::now();
  bool asked = false;  // whether it is still alive
  try {
    while (!stop.stop_requested()) {
      pollfd ready{connection->fd, POLLIN, 0};
      poll(&ready, 1, static_cast<int>(kLook.count()));
      if (ready.revents == 0) {
        const auto silent = std::chrono::steady_clock::now() - received;
        if (silent > kSilence) throw Unavailable("Redis has fallen silent");
        if (silent > kSilence / 2 && !std::exchange(asked, true)) append({"PING"});
        continue;
      }
      if (redisBufferRead(connection.get()) != REDIS_OK) {
        throw Unavailable(std::string("Redis: ") + connection->errstr);
      }
      received = std::chrono::steady_clock::now();
      asked = false;
      for (;;) {
        void* raw = nullptr;
        if (redisGetReplyFromReader(connection.get(), &raw) != REDIS_OK) {
          throw Unavailable(std::string("Redis: ") + connection->errstr);
        }
        if (raw == nullptr) break;
        const Reply reply(static_cast<redisReply*>(raw));
        if (reply->type == REDIS_REPLY_ERROR) Text(*reply);  // throws
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) continue;
        const std::string kind = *Text(*reply->element[0]);
        if (kind == "subscribe" && ++subscribed == channels_.size()) {
          told = true;
          listener_.connected();
        } else if (kind == "message") {
          listener_.received(*Text(*reply->element[1]), *Text(*reply->element[2]));
        }
      }
    }
  } catch (...) {
    end();
    throw;
  }
  end();
}

}  // namespace shop::redis
