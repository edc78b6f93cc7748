// What the gateway serves: its endpoints, each one way to call one method of a service over HTTP,
// and the table that finds the endpoint of a request.
//
// Everything follows from the methods' descriptors: google.api.http, shop.api.v1.answer,
// shop.api.v1.cache and shop.api.v1.cost.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/telemetry/duration_histogram.h"
#include "common/telemetry/metrics.h"
#include "gateway/http/conditional.h"
#include "gateway/routing/binding.h"
#include "gateway/routing/http_rule.h"
#include "gateway/routing/router.h"

namespace shop::gateway {

// The counters of one route and method: http_requests_total and http_request_duration_seconds.
// Thread-safe, without a lock once a status has come up.
class RouteMetrics {
 public:
  RouteMetrics(const std::string& route, const std::string& method);

  void Count(int status, std::chrono::duration<double> took, const TraceContext& trace);

 private:
  std::string route_;
  std::string method_;
  DurationHistogram duration_;
  std::array<std::atomic<prometheus::Counter*>, 600> by_status_{};
};

struct Endpoint {
  // Throws std::logic_error where the method cannot be served or cached as its options say.
  Endpoint(const google::protobuf::MethodDescriptor* method, const HttpBinding& http,
           const std::vector<std::string>& variables, size_t upstream);

  const google::protobuf::MethodDescriptor* method;
  std::string path;  // of the rpc: /shop.orders.v1.OrdersService/GetOrder
  std::string http_method;
  std::string path_template;
  Binding binding;
  RouteMetrics metrics;
  const google::protobuf::Message* request_type;
  const google::protobuf::Message* response_type;
  size_t upstream;
  int status;        // of a success
  int empty_status;  // of one whose message is empty, or 0
  bool raw;          // whether the response goes without the envelope
  bool is_public;
  int64_t cost;            // of a call, of the client's quota
  VersionFields versions;  // of the response
  // Of a method that streams its responses, the field that numbers them; null otherwise.
  const google::protobuf::FieldDescriptor* stream_id;
  // Where its responses may be cached: the tag of what they are about, or "", and the field of the
  // request that names the one thing, null where they are about all under the tag.
  std::string cache_tag;
  const google::protobuf::FieldDescriptor* cache_id;
  // What depends on the other endpoints; set by RoutingTable::Complete.
  bool has_etag = false;
  std::vector<std::string> changes = {};  // tags of what a call may change
};

// Whether the HTTP method only reads.
inline bool IsRead(std::string_view method) {
  return method == "GET" || method == "HEAD";
}

// Built at the start, then used from any thread.
class RoutingTable {
 public:
  // Adds an endpoint for each HTTP binding.
  // Throws std::logic_error for a method without a usable access option, or whose options do not
  // fit each other.
  void Add(const google::protobuf::MethodDescriptor* method, size_t upstream);
  // Once all methods are there.
  void Complete();

  // The route is the number of an endpoint.
  Router::Found Find(std::string_view method, std::string_view path) const {
    return router_.Find(method, path);
  }
  Endpoint& endpoint(size_t route) const { return *endpoints_[route]; }

  const std::set<std::string>& cache_tags() const { return cache_tags_; }
  // The request headers that fields are read from.
  std::set<std::string> headers() const;

 private:
  Router router_;
  std::set<std::string> cache_tags_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;  // by route
};

}  // namespace shop::gateway
