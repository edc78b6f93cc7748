#include "products/redis.h"

#include <hiredis/hiredis.h>
#include <sys/time.h>

#include <charconv>
#include <string_view>

#include "common/core/result.h"

namespace shop::products {
namespace {

constexpr timeval kPatience{0, 100'000};

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

// Null when the connection is of no more use.
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

bool ParseUrl(std::string_view url, Redis::Settings* settings) {
  constexpr std::string_view kScheme = "redis://";
  if (!url.starts_with(kScheme)) return false;
  url.remove_prefix(kScheme.size());
  if (const size_t at = url.rfind('@'); at != std::string_view::npos) {
    if (!url.starts_with(':')) return false;
    settings->password = url.substr(1, at - 1);
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

}  // namespace

Redis::Settings Redis::Settings::Read(Env& env) {
  Settings settings;
  if (!ParseUrl(env.Text("REDIS_URL", "redis://127.0.0.1:6379"), &settings)) {
    env.Wrong("REDIS_URL", "is not redis://[:password@]host[:port][/database]");
  }
  return settings;
}

void Redis::Close::operator()(redisContext* context) const {
  redisFree(context);
}

Redis::Redis(Settings settings) : settings_(std::move(settings)) {}
Redis::~Redis() = default;

Redis::Connection Redis::Connect() const {
  Connection connection(redisConnectWithTimeout(settings_.host.c_str(), settings_.port, kPatience));
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
  if (!settings_.password.empty()) greet({"AUTH", settings_.password});
  if (settings_.database != 0) greet({"SELECT", std::to_string(settings_.database)});
  return connection;
}

Redis::Connection Redis::TakeIdle() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return nullptr;
  Connection connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

std::optional<std::string> Redis::Command(const std::vector<std::string>& words) {
  Connection connection = TakeIdle();
  const bool reused = connection != nullptr;
  if (!reused) connection = Connect();
  Reply reply = Send(connection.get(), words);
  // A server that restarted has closed what stood here idle; one that is late has not, and is not
  // asked twice.
  const bool closed = connection->err == REDIS_ERR_EOF ||
                      (connection->err == REDIS_ERR_IO && (errno == EPIPE || errno == ECONNRESET));
  if (!reply && reused && closed) {
    {
      const std::lock_guard lock(mutex_);
      idle_.clear();
    }
    connection = Connect();
    reply = Send(connection.get(), words);
  }
  if (!reply) throw Unavailable(std::string("Redis: ") + connection->errstr);
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(connection));
  return Text(*reply);
}

}  // namespace shop::products
