#include "gateway/limits/client_limits.h"

#include <string>

#include "common/telemetry/metrics.h"

namespace shop::gateway {
namespace {

prometheus::Gauge& NewGauge(const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(Metrics()).Add({});
}

// False, and nothing added, where the sum would be more than `limit`.
bool AddWithin(std::atomic<size_t>& sum, size_t more, size_t limit) {
  size_t before = sum.load(std::memory_order_relaxed);
  do {
    if (before > limit || more > limit - before) return false;
  } while (!sum.compare_exchange_weak(before, before + more, std::memory_order_relaxed));
  return true;
}

}  // namespace

prometheus::Counter& LimitRefusals(const std::string& limit) {
  return prometheus::BuildCounter()
      .Name("http_limit_refusals_total")
      .Help("Connections and requests refused because clients had taken too much, by which limit.")
      .Register(Metrics())
      .Add({{"limit", limit}});
}

struct ClientLimits::Client {
  ClientNetwork key;
  size_t connections = 0;  // guarded by ClientLimits' mutex, as the next
  size_t streams = 0;
  std::atomic<size_t> bytes = 0;
};

ClientLimits::ClientLimits(const Settings& settings)
    : settings_(settings),
      connections_gauge_(NewGauge("http_connections", "Connections of clients.")),
      streams_gauge_(NewGauge("http_streams", "Open streams of clients.")),
      bytes_gauge_(
          NewGauge("http_buffered_bytes", "Bytes in memory of requests that are coming in.")),
      refused_connections_(LimitRefusals("connections")),
      refused_client_connections_(LimitRefusals("client_connections")),
      refused_bytes_(LimitRefusals("bytes")),
      refused_client_bytes_(LimitRefusals("client_bytes")),
      refused_streams_(LimitRefusals("streams")),
      refused_client_streams_(LimitRefusals("client_streams")) {}

ClientLimits::~ClientLimits() = default;

std::pair<std::unique_ptr<ClientLimits::Share>, ClientLimits::Verdict> ClientLimits::Connect(
    const boost::asio::ip::address& address) {
  const ClientNetwork key = NetworkOf(address);
  const std::lock_guard lock(mutex_);
  if (connections_ >= settings_.connections) {
    refused_connections_.Increment();
    return {nullptr, Verdict::kLimitOfAll};
  }
  Client& client = clients_[key];
  if (client.connections >= settings_.connections_per_client) {
    refused_client_connections_.Increment();
    return {nullptr, Verdict::kLimitOfClient};
  }
  client.key = key;
  ++client.connections;
  ++connections_;
  connections_gauge_.Increment();
  return {std::unique_ptr<Share>(new Share(*this, client)), Verdict::kGiven};
}

ClientLimits::Share::~Share() {
  GiveBack();
  const std::lock_guard lock(limits_.mutex_);
  Count(is_stream_, -1);
  if (client_.connections == 0 && client_.streams == 0)
    limits_.clients_.erase(ClientNetwork(client_.key));
}

ClientLimits::Verdict ClientLimits::Share::BecomeStream() {
  const std::lock_guard lock(limits_.mutex_);
  if (is_stream_) return Verdict::kGiven;
  if (client_.streams >= limits_.settings_.streams_per_client) {
    limits_.refused_client_streams_.Increment();
    return Verdict::kLimitOfClient;
  }
  if (limits_.streams_ >= limits_.settings_.streams) {
    limits_.refused_streams_.Increment();
    return Verdict::kLimitOfAll;
  }
  Count(false, -1);
  Count(true, 1);
  is_stream_ = true;
  return Verdict::kGiven;
}

void ClientLimits::Share::BecomeConnection() {
  if (!is_stream_) return;
  const std::lock_guard lock(limits_.mutex_);
  Count(true, -1);
  Count(false, 1);
  is_stream_ = false;
}

void ClientLimits::Share::Count(bool as_stream, int one) {
  (as_stream ? client_.streams : client_.connections) += static_cast<size_t>(one);
  (as_stream ? limits_.streams_ : limits_.connections_) += static_cast<size_t>(one);
  (as_stream ? limits_.streams_gauge_ : limits_.connections_gauge_).Increment(one);
}

ClientLimits::Verdict ClientLimits::Share::Take(size_t bytes) {
  if (!AddWithin(client_.bytes, bytes, limits_.settings_.bytes_per_client)) {
    limits_.refused_client_bytes_.Increment();
    return verdict_ = Verdict::kLimitOfClient;
  }
  if (!AddWithin(limits_.bytes_, bytes, limits_.settings_.bytes)) {
    client_.bytes -= bytes;
    limits_.refused_bytes_.Increment();
    return verdict_ = Verdict::kLimitOfAll;
  }
  taken_ += bytes;
  limits_.bytes_gauge_.Increment(static_cast<double>(bytes));
  return verdict_ = Verdict::kGiven;
}

void ClientLimits::Share::GiveBack() {
  verdict_ = Verdict::kGiven;
  if (taken_ == 0) return;
  client_.bytes -= taken_;
  limits_.bytes_ -= taken_;
  limits_.bytes_gauge_.Decrement(static_cast<double>(taken_));
  taken_ = 0;
}

}  // namespace shop::gateway
