#include "gateway/upstream.h"

#include <grpcpp/channel.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <stop_token>
#include <thread>

#include "common/rpc/call.h"
#include "common/rpc/connection.h"
#include "common/rpc/status.h"
#include "gateway/streaming/upstream_stream_call.h"

namespace shop::gateway {
namespace {

namespace asio = boost::asio;
using google::protobuf::MessageLite;
using Stub = grpc::TemplatedGenericStub<MessageLite, MessageLite>;

constexpr std::chrono::milliseconds kCheckEvery{50};

// A running call. Keeps itself alive until gRPC hands it back, whoever else has dropped it.
struct Pending : Upstreams::Reply {
  grpc::ClientContext context;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<MessageLite>> reader;
  std::shared_ptr<Pending> self;

  virtual void Complete() = 0;

  // On the queue's thread.
  void Finish() {
    replayed = status.ok() && context.GetServerTrailingMetadata().contains(kReplayed);
    if (!status.ok()) {
      refusal = EndOf(status).refusal;
      not_taken = rpc::NotTaken(status);
    }
    Complete();
    self.reset();
  }
};

template <typename Handler>
struct PendingFor final : Pending {
  explicit PendingFor(Handler handler)
      : executor(asio::get_associated_executor(handler)), handler(std::move(handler)) {}

  void Complete() override {
    asio::post(executor, [handler = std::move(handler),
                          reply = std::shared_ptr<const Reply>(self)]() mutable {
      std::move(handler)(std::move(reply));
    });
  }

  asio::any_io_executor executor;
  Handler handler;
};

}  // namespace

struct Upstreams::State {
  explicit State(rpc::Tls tls) : tls(std::move(tls)) {}

  struct Link {
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<Stub> stub;
    bool reachable = false;
  };

  // Notes whether the service is reachable, and connects where there is no connection. Between two
  // connections (services end theirs twice a minute) nothing changes: calls wait for the next one.
  // It is away once connecting has failed.
  static void CheckState(Link& link) {
    switch (link.channel->GetState(/*try_to_connect=*/true)) {
      case GRPC_CHANNEL_READY:
        link.reachable = true;
        return;
      case GRPC_CHANNEL_IDLE:
      case GRPC_CHANNEL_CONNECTING:
        return;
      case GRPC_CHANNEL_TRANSIENT_FAILURE:
      case GRPC_CHANNEL_SHUTDOWN:
        link.reachable = false;
        return;
    }
  }

  // Checks often enough that no connection comes and goes between two checks.
  void Watch(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      for (Link& link : links) CheckState(link);
      wake.wait_for(lock, stop, kCheckEvery, [] { return false; });
    }
  }

  // gRPC 1.51 must not let go of a channel on a thread of its own that runs callbacks: as the last one it would
  // take down the queue it runs on, and abort. So each stream's call has a share of `streaming` for as long
  // as it has its channel.
  void EndStreaming() {
    streaming.reset();
    streaming_ended.wait();
  }

  const rpc::Tls tls;
  std::future<void> streaming_ended;
  std::shared_ptr<const void> streaming = [this] {
    auto ended = std::make_shared<std::promise<void>>();
    streaming_ended = ended->get_future();
    return std::shared_ptr<const void>(nullptr, [ended](const void*) { ended->set_value(); });
  }();
  std::mutex mutex;  // `reachable` of each link, and their number
  std::condition_variable_any wake;
  std::deque<Link> links;
  grpc::CompletionQueue queue;
  std::thread thread;
  std::jthread watch{[this](const std::stop_token& stop) { Watch(stop); }};  // the last
};

Upstreams::Upstreams(rpc::Tls tls) : state_(std::make_unique<State>(std::move(tls))) {
  state_->thread = std::thread([queue = &state_->queue] {
    void* tag = nullptr;
    bool ok = false;
    while (queue->Next(&tag, &ok)) static_cast<Pending*>(tag)->Finish();
  });
}

Upstreams::~Upstreams() {
  state_->EndStreaming();
  state_->queue.Shutdown();
  state_->thread.join();
}

size_t Upstreams::Connect(const std::string& name, const std::string& address) {
  grpc::ChannelArguments arguments = rpc::ConnectionArguments();
  arguments.SetMaxReceiveMessageSize(-1);
  State::Link link;
  link.channel = rpc::Connect(name, address, state_->tls, std::move(arguments));
  link.stub = std::make_unique<Stub>(link.channel);
  State::CheckState(link);
  const std::lock_guard lock(state_->mutex);
  state_->links.push_back(std::move(link));
  return state_->links.size() - 1;
}

bool Upstreams::IsReachable(size_t upstream) const {
  const std::lock_guard lock(state_->mutex);
  State::CheckState(state_->links[upstream]);
  return state_->links[upstream].reachable;
}

UpstreamStream::End EndOf(const grpc::Status& status) {
  if (status.ok()) return {};
  UpstreamStream::End end{rpc::FromStatus(status)};
  // Either the service gave up on us or we are stopping: the client may try again.
  if (status.error_code() == grpc::StatusCode::CANCELLED) end.refusal->code = Code::kUnavailable;
  return end;
}

std::unique_ptr<UpstreamStream> Upstreams::OpenStream(const Request& request,
                                                      const asio::any_io_executor& executor,
                                                      std::function<void()> on_change) {
  return StartUpstreamStream(*state_->links[request.upstream].stub, request, executor,
                             std::move(on_change), state_->streaming);
}

asio::awaitable<std::shared_ptr<const Upstreams::Reply>> Upstreams::Call(Request request) {
  const auto start = [this, &request](auto handler) {
    using Handler = decltype(handler);
    auto slot = asio::get_associated_cancellation_slot(handler);
    const auto call = std::make_shared<PendingFor<Handler>>(std::move(handler));
    call->self = call;
    call->message = request.response_type.New(&call->arena);
    call->context.set_deadline(request.deadline);
    for (const auto& [name, value] : request.metadata) call->context.AddMetadata(name, value);
    if (slot.is_connected()) {
      slot.assign([weak = std::weak_ptr<Pending>(call)](asio::cancellation_type) {
        if (const std::shared_ptr<Pending> running = weak.lock()) running->context.TryCancel();
      });
    }
    call->reader = state_->links[request.upstream].stub->PrepareUnaryCall(
        &call->context, request.path, request.message, &state_->queue);
    call->reader->StartCall();
    call->reader->Finish(call->message, &call->status, static_cast<Pending*>(call.get()));
  };
  std::shared_ptr<const Reply> reply;
  for (int attempt = 0; attempt <= rpc::kMaxRepeats; ++attempt) {
    reply = co_await asio::async_initiate<const asio::use_awaitable_t<>,
                                          void(std::shared_ptr<const Reply>)>(start,
                                                                              asio::use_awaitable);
    if (!reply->not_taken) break;
  }
  co_return reply;
}

}  // namespace shop::gateway
