// The open streams of a server. Includes gRPC: only for .cpp files.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>

#include "common/rpc/handling.h"

namespace shop::rpc {

class StreamCall;
class WorkerPool;

// Opens streams, and ends those whose caller's token has expired (UNAUTHENTICATED, within a second).
// A stream has no thread: it takes one of the pool while it is opened and while it reads. When the
// pool is full, it reads after its hub's next poll. Thread-safe. Metrics: rpc_streams{method}.
class OpenStreams {
 public:
  OpenStreams();
  // Every stream has ended.
  ~OpenStreams();

  // So that a method has a 0 before its first stream.
  static void Show(const BoundMethod& bound);
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(BoundMethod& bound, WorkerPool& pool,
                                                    Identity& identity, const std::stop_token& cut,
                                                    grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request);
  // Ends them all, and from here on each that is opened, as UNAVAILABLE: their clients come back to
  // another replica. One whose client does not read ends when the server cancels it.
  void EndAll();

 private:
  friend class StreamCall;

  void Remove(const std::shared_ptr<StreamCall>& stream);
  std::set<std::shared_ptr<StreamCall>> All();
  void EndExpired(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any wait_;
  std::set<std::shared_ptr<StreamCall>> streams_;
  bool stopping_ = false;
  std::jthread expiry_;  // the last: it uses the rest
};

}  // namespace shop::rpc
