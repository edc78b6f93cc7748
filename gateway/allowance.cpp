#include "gateway/allowance.h"

#include <string>

#include "common/telemetry/metrics.h"

namespace shop::gateway {
namespace {

prometheus::Gauge& NewGauge(const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(Metrics()).Add({});
}

prometheus::Counter& Refusals(const std::string& limit) {
  return prometheus::BuildCounter()
      .Name("http_limit_refusals_total")
      .Help("Connections and requests refused because clients had taken too much, by which limit.")
      .Register(Metrics())
      .Add({{"limit", limit}});
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

struct Allowance::Client {
  Key key;
  size_t connections = 0;  // guarded by the allowance's mutex
  std::atomic<size_t> bytes = 0;
};

Allowance::Allowance(const Limits& limits)
    : limits_(limits),
      connections_gauge_(NewGauge("http_connections", "Connections of clients.")),
      bytes_gauge_(NewGauge("http_buffered_bytes", "Bytes kept of requests that are coming in.")),
      refused_connections_(Refusals("connections")),
      refused_client_connections_(Refusals("client_connections")),
      refused_bytes_(Refusals("bytes")),
      refused_client_bytes_(Refusals("client_bytes")) {}

Allowance::~Allowance() = default;

std::pair<std::unique_ptr<Allowance::Share>, Allowance::Verdict> Allowance::Connect(
    const boost::asio::ip::address& address) {
  const Key key = KeyOf(address);
  const std::lock_guard lock(mutex_);
  if (connections_ >= limits_.connections) {
    refused_connections_.Increment();
    return {nullptr, Verdict::kNoneLeft};
  }
  Client& client = clients_[key];
  if (client.connections >= limits_.connections_per_client) {
    refused_client_connections_.Increment();
    return {nullptr, Verdict::kClientHasShare};
  }
  client.key = key;
  ++client.connections;
  ++connections_;
  connections_gauge_.Increment();
  return {std::unique_ptr<Share>(new Share(*this, client)), Verdict::kGiven};
}

Allowance::Share::~Share() {
  GiveBack();
  const std::lock_guard lock(allowance_.mutex_);
  --allowance_.connections_;
  allowance_.connections_gauge_.Decrement();
  if (--client_.connections == 0) allowance_.clients_.erase(Key(client_.key));
}

Allowance::Verdict Allowance::Share::Take(size_t bytes) {
  if (!AddWithin(client_.bytes, bytes, allowance_.limits_.bytes_per_client)) {
    allowance_.refused_client_bytes_.Increment();
    return verdict_ = Verdict::kClientHasShare;
  }
  if (!AddWithin(allowance_.bytes_, bytes, allowance_.limits_.bytes)) {
    client_.bytes -= bytes;
    allowance_.refused_bytes_.Increment();
    return verdict_ = Verdict::kNoneLeft;
  }
  taken_ += bytes;
  allowance_.bytes_gauge_.Increment(static_cast<double>(bytes));
  return verdict_ = Verdict::kGiven;
}

void Allowance::Share::GiveBack() {
  verdict_ = Verdict::kGiven;
  if (taken_ == 0) return;
  client_.bytes -= taken_;
  allowance_.bytes_ -= taken_;
  allowance_.bytes_gauge_.Decrement(static_cast<double>(taken_));
  taken_ = 0;
}

Allowance::Key Allowance::KeyOf(const boost::asio::ip::address& address) {
  using boost::asio::ip::make_address_v4;
  using boost::asio::ip::v4_mapped;
  if (address.is_v4()) return {false, address.to_v4().to_uint()};
  const auto v6 = address.to_v6();
  if (v6.is_v4_mapped()) return {false, make_address_v4(v4_mapped, v6).to_uint()};
  uint64_t network = 0;
  const auto bytes = v6.to_bytes();
  for (int i = 0; i < 8; ++i) network = network << 8 | bytes[i];
  return {true, network};
}

}  // namespace shop::gateway
