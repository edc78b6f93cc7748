// How much clients may take of the server at once: connections, and bytes of what they send that
// are kept in memory. There is a limit for all together and one for each of them, so that neither
// one client nor many can fill the memory.
//
// A client is an IPv4 address, or the first 64 bits of an IPv6 one: who has one of those addresses
// has them all. Whatever comes through one proxy is one client.
//
// Thread-safe. Metrics: http_connections, http_buffered_bytes and
// http_limit_refusals_total{limit=connections|client_connections|bytes|client_bytes}.
#pragma once

#include <atomic>
#include <boost/asio/ip/address.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace prometheus {
class Counter;
class Gauge;
}  // namespace prometheus

namespace shop::gateway {

class Allowance {
  struct Client;

 public:
  struct Limits {
    size_t connections;
    size_t connections_per_client;
    size_t bytes;
    size_t bytes_per_client;
  };
  enum class Verdict {
    kGiven,
    kNoneLeft,        // all together have what there is
    kClientHasShare,  // the client has as much as one may have
  };

  explicit Allowance(const Limits& limits);
  // No Share may be left.
  ~Allowance();
  Allowance(const Allowance&) = delete;
  Allowance& operator=(const Allowance&) = delete;

  // What one connection has: its place, and the bytes it has asked for. Gives all of it back at its
  // end. For one thread at a time.
  class Share {
   public:
    ~Share();
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // Asks for more bytes; unless they are given it has as many as before.
    Verdict Take(size_t bytes);
    void GiveBack();
    size_t taken() const { return taken_; }
    // What was said to the last Take since the last GiveBack.
    Verdict verdict() const { return verdict_; }

   private:
    friend class Allowance;
    Share(Allowance& allowance, Client& client) : allowance_(allowance), client_(client) {}

    Allowance& allowance_;
    Client& client_;
    size_t taken_ = 0;
    Verdict verdict_ = Verdict::kGiven;
  };

  // A place for one more connection from `address`; null with the reason where there is none.
  std::pair<std::unique_ptr<Share>, Verdict> Connect(const boost::asio::ip::address& address);

 private:
  using Key = std::pair<bool, uint64_t>;  // whether it is IPv6, and its bits

  static Key KeyOf(const boost::asio::ip::address& address);

  const Limits limits_;
  prometheus::Gauge& connections_gauge_;
  prometheus::Gauge& bytes_gauge_;
  prometheus::Counter& refused_connections_;
  prometheus::Counter& refused_client_connections_;
  prometheus::Counter& refused_bytes_;
  prometheus::Counter& refused_client_bytes_;
  std::atomic<size_t> bytes_ = 0;
  std::mutex mutex_;  // guards these:
  size_t connections_ = 0;
  std::map<Key, Client> clients_;  // those with a connection
};

}  // namespace shop::gateway
