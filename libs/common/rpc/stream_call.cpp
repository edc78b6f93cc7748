#include "common/rpc/stream_call.h"

#include <chrono>
#include <deque>
#include <optional>
#include <utility>

#include "common/core/deadline.h"
#include "common/rpc/identity.h"
#include "common/rpc/stream_hub.h"
#include "common/rpc/worker_pool.h"
#include "common/telemetry/log.h"

namespace shop::rpc {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr std::chrono::seconds kReadLimit{10};
constexpr std::chrono::milliseconds kExpiryCheck{250};

prometheus::Gauge& OpenGauge(const std::string& path) {
  return prometheus::BuildGauge()
      .Name("rpc_streams")
      .Help("Open streams")
      .Register(Metrics())
      .Add({{"method", path}});
}

grpc::ByteBuffer Bytes(const std::string& text) {
  const grpc::Slice slice(text);
  return {&slice, 1};
}

}  // namespace

// One stream. At any time it does one of the things below, so that there is one writer, and nothing
// is read while something is being written. gRPC's operations are started without the lock.
class StreamCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                         public StreamHub::Listener,
                         public std::enable_shared_from_this<StreamCall> {
 public:
  StreamCall(OpenStreams& streams, BoundMethod& bound, WorkerPool& pool, Identity& identity,
             std::stop_token cut, grpc::CallbackServerContext* context,
             const grpc::ByteBuffer* request)
      : streams_(streams),
        bound_(bound),
        pool_(pool),
        identity_(identity),
        cut_(std::move(cut)),
        context_(context),
        request_(request),
        gauge_(OpenGauge(bound.path)) {
    gauge_.Increment();
  }

  void Begin() {
    const bool accepted = pool_.Post([self = shared_from_this()] { self->Open(); });
    if (!accepted) FinishWith({grpc::StatusCode::UNAVAILABLE, "too busy, try again"});
  }

  // Ends the stream once nothing is under way.
  void End(grpc::Status status) {
    {
      const std::lock_guard lock(mutex_);
      if (end_) return;
      end_ = std::move(status);
      if (doing_ != Doing::kNothing) return;
      doing_ = Doing::kFinishing;
    }
    FinishWith(*end_);
  }

  // Ends the stream if its caller's token is not good any more.
  void EndIfOver(system_clock::time_point now) {
    const char* why = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (now >= caller_.expires) why = "the token has expired";
      if (identity_.users().IsRevoked(caller_.session)) why = "the session of this token has ended";
    }
    if (why != nullptr) End({grpc::StatusCode::UNAUTHENTICATED, why});
  }

  // StreamHub::Listener
  void Wake() override {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
      if (doing_ != Doing::kNothing) return;
      doing_ = Doing::kReading;
    }
    PostRead();
  }
  int64_t cursor() const override {
    const std::lock_guard lock(mutex_);
    return cursor_;
  }

  // grpc::ServerWriteReactor
  void OnWriteDone(bool ok) override {
    std::unique_lock lock(mutex_);
    if (ok) {
      cursor_ = page_.front().id;
      page_.pop_front();
    } else if (!end_) {
      end_ = grpc::Status::CANCELLED;
    }
    Write(lock);
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override {
    gauge_.Decrement();
    if (place_) stream_.hub->Remove(*place_);
    streams_.Remove(shared_from_this());
  }

 private:
  enum class Doing { kOpening, kNothing, kReading, kWriting, kFinishing };

  // On the pool.
  void Open() {
    const steady_clock::time_point arrived = steady_clock::now();
    const grpc::Status status =
        Handle(bound_, *context_, *request_, arrived, identity_, cut_,
               [this](const Call& call, const google::protobuf::Message& request) -> Result<void> {
                 Result<OpenedStream> stream = bound_.method.open(call, request);
                 if (!stream) return stream.refusal();
                 stream_ = *std::move(stream);
                 const std::lock_guard lock(mutex_);
                 cursor_ = stream_.after;
                 caller_ = call.caller;
                 return kDone;
               });
    if (!status.ok()) return FinishWith(status);
    StartSendInitialMetadata();  // tells the client that the stream is open
    // Registered first, so that what is committed while it reads wakes it again.
    place_ = stream_.hub->Add(stream_.key, shared_from_this());
    Read();
  }

  void PostRead() {
    if (pool_.Post([self = shared_from_this()] { self->Read(); })) return;
    // The pool is full: the next poll of the hub finds that there is more.
    std::unique_lock lock(mutex_);
    doing_ = Doing::kNothing;
    if (end_) Finish(lock);
  }

  // On the pool, when there may be more.
  void Read() {
    std::unique_lock lock(mutex_);
    do {
      doing_ = Doing::kReading;
      woken_ = false;
      if (end_) return Finish(lock);
      const int64_t after = cursor_;
      lock.unlock();
      std::deque<OpenedStream::Message> page = ReadAfter(after);
      lock.lock();
      page_ = std::move(page);
      if (end_ || !page_.empty()) return Write(lock);
    } while (woken_);
    doing_ = Doing::kNothing;
  }

  std::deque<OpenedStream::Message> ReadAfter(int64_t after) {
    const DeadlineScope until(steady_clock::now() + kReadLimit, cut_);
    try {
      std::vector<OpenedStream::Message> messages = stream_.read(after);
      return {std::make_move_iterator(messages.begin()), std::make_move_iterator(messages.end())};
    } catch (const Unavailable& error) {
      log::Warning("a stream has to wait", {{"method", bound_.path}, {"error", error.what()}});
    } catch (const std::exception& error) {
      log::Error("a stream failed", {{"method", bound_.path}, {"error", error.what()}});
      End({grpc::StatusCode::INTERNAL, "internal error"});
    }
    return {};
  }

  // Goes on with the page that was read, or with the next one.
  void Write(std::unique_lock<std::mutex>& lock) {
    if (end_) return Finish(lock);
    const bool more = !page_.empty();
    doing_ = more ? Doing::kWriting : Doing::kReading;
    if (more) buffer_ = Bytes(page_.front().bytes);
    lock.unlock();
    if (more) {
      StartWrite(&buffer_);
    } else {
      PostRead();
    }
  }

  void Finish(std::unique_lock<std::mutex>& lock) {
    doing_ = Doing::kFinishing;
    lock.unlock();
    FinishWith(*end_);
  }

  // Once, and nothing is started after it.
  void FinishWith(const grpc::Status& status) {
    bound_.metrics.Count(status.error_code());
    ServerWriteReactor::Finish(status);
  }

  OpenStreams& streams_;
  BoundMethod& bound_;
  WorkerPool& pool_;
  Identity& identity_;
  const std::stop_token cut_;
  grpc::CallbackServerContext* const context_;
  const grpc::ByteBuffer* const request_;
  prometheus::Gauge& gauge_;
  OpenedStream stream_;                                  // set when it is opened
  std::optional<StreamHub::Listeners::iterator> place_;  // the same
  grpc::ByteBuffer buffer_;                              // what is being written
  mutable std::mutex mutex_;                             // guards these:
  Doing doing_ = Doing::kOpening;
  bool woken_ = false;
  int64_t cursor_ = 0;
  Caller caller_;                           // a guest until it is opened
  std::deque<OpenedStream::Message> page_;  // read and not yet written
  std::optional<grpc::Status> end_;         // set once: how it ends
};

OpenStreams::OpenStreams() : expiry_([this](const std::stop_token& stop) { EndExpired(stop); }) {}

OpenStreams::~OpenStreams() = default;

void OpenStreams::Show(const BoundMethod& bound) {
  OpenGauge(bound.path);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* OpenStreams::Start(BoundMethod& bound, WorkerPool& pool,
                                                               Identity& identity,
                                                               const std::stop_token& cut,
                                                               grpc::CallbackServerContext* context,
                                                               const grpc::ByteBuffer* request) {
  const auto stream =
      std::make_shared<StreamCall>(*this, bound, pool, identity, cut, context, request);
  bool stopping = false;
  {
    const std::lock_guard lock(mutex_);
    streams_.insert(stream);
    stopping = stopping_;
  }
  if (stopping) stream->End({grpc::StatusCode::UNAVAILABLE, "stopping, come back"});
  stream->Begin();
  return stream.get();
}

void OpenStreams::EndAll() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  for (const auto& stream : All()) {
    stream->End({grpc::StatusCode::UNAVAILABLE, "stopping, come back"});
  }
}

void OpenStreams::Remove(const std::shared_ptr<StreamCall>& stream) {
  const std::lock_guard lock(mutex_);
  streams_.erase(stream);
}

std::set<std::shared_ptr<StreamCall>> OpenStreams::All() {
  const std::lock_guard lock(mutex_);
  return streams_;
}

void OpenStreams::EndExpired(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      wait_.wait_for(lock, stop, kExpiryCheck, [] { return false; });
    }
    const auto now = system_clock::now();
    for (const auto& stream : All()) stream->EndIfOver(now);
  }
}

}  // namespace shop::rpc
