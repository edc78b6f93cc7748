#include "gateway/streaming/upstream_stream_call.h"

#include <grpcpp/client_context.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/client_callback.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <mutex>
#include <utility>

#include "common/rpc/status.h"

namespace shop::gateway {
namespace {

namespace asio = boost::asio;
using google::protobuf::Message;
using google::protobuf::MessageLite;

// The call as gRPC sees it, on its threads. Keeps itself alive until gRPC is done with it; what it
// has to tell goes to the executor of the stream, for as long as there is one.
class Call final : public grpc::ClientBidiReactor<MessageLite, MessageLite>,
                   public std::enable_shared_from_this<Call> {
 public:
  struct Observer {
    std::function<void()> opened;
    std::function<void()> message;
    std::function<void(const grpc::Status&)> ended;
  };

  Call(const Upstreams::Request& request, asio::any_io_executor executor, Observer observer,
       std::shared_ptr<const void> channel_in_use)
      : channel_in_use_(std::move(channel_in_use)),
        request_(request.message.New()),
        message_(request.response_type.New()),
        executor_(std::move(executor)),
        observer_(std::make_shared<const Observer>(std::move(observer))) {
    request_->CopyFrom(request.message);
    for (const auto& [name, value] : request.metadata) context_.AddMetadata(name, value);
  }

  void Start(grpc::TemplatedGenericStub<MessageLite, MessageLite>& stub, const std::string& path) {
    self_ = shared_from_this();
    stub.PrepareBidiStreamingCall(&context_, path, {}, this);
    AddHold();  // for the reads that are still to come
    StartWriteLast(request_.get(), {});
    StartRead(message_.get());
    StartCall();
  }
  // On the stream's executor.
  const Message* message() const { return message_.get(); }
  void Next() {
    message_->Clear();
    StartRead(message_.get());
  }
  // On the stream's executor. Nothing is told any more.
  void Drop() {
    {
      const std::lock_guard lock(mutex_);
      observer_.reset();
      executor_ = {};
    }
    context_.TryCancel();
    LetGo();
  }

  void OnReadInitialMetadataDone(bool ok) override {
    if (ok) Tell([](const Observer& observer) { observer.opened(); });
  }
  void OnReadDone(bool ok) override {
    if (!ok) return LetGo();
    Tell([](const Observer& observer) { observer.message(); });
  }
  void OnDone(const grpc::Status& status) override {
    Tell([status](const Observer& observer) { observer.ended(status); });
    self_.reset();
  }

 private:
  template <typename Event>
  void Tell(Event event) {
    // The executor may be gone as soon as the stream is.
    const std::lock_guard lock(mutex_);
    if (!observer_) return;
    asio::post(executor_, [self = shared_from_this(), event = std::move(event)] {
      if (const auto observer = self->observer_) event(*observer);
    });
  }
  void LetGo() {
    if (!let_go_.exchange(true)) RemoveHold();
  }

  const std::shared_ptr<const void> channel_in_use_;  // before the context, which has the channel
  grpc::ClientContext context_;
  std::unique_ptr<Message> request_;
  std::unique_ptr<Message> message_;
  std::mutex mutex_;  // guards, against Drop:
  asio::any_io_executor executor_;
  std::shared_ptr<const Observer> observer_;  // null once dropped; changes on the executor alone
  std::atomic<bool> let_go_ = false;
  std::shared_ptr<Call> self_;
};

class Stream final : public UpstreamStream {
 public:
  Stream(grpc::TemplatedGenericStub<MessageLite, MessageLite>& stub,
         const Upstreams::Request& request, const asio::any_io_executor& executor,
         std::function<void()> on_change, std::shared_ptr<const void> channel_in_use)
      : on_change_(std::move(on_change)),
        call_(std::make_shared<Call>(request, executor,
                                     Call::Observer{[this] {
                                                      open_ = true;
                                                      on_change_();
                                                    },
                                                    [this] {
                                                      message_ = call_->message();
                                                      on_change_();
                                                    },
                                                    [this](const grpc::Status& status) {
                                                      end_ = EndOf(status);
                                                      on_change_();
                                                    }},
                                     std::move(channel_in_use))) {
    call_->Start(stub, request.path);
  }
  ~Stream() override { call_->Drop(); }

  void Next() override {
    message_ = nullptr;
    if (!end_) call_->Next();
  }

 private:
  std::function<void()> on_change_;
  std::shared_ptr<Call> call_;
};

}  // namespace

std::unique_ptr<UpstreamStream> StartUpstreamStream(
    grpc::TemplatedGenericStub<MessageLite, MessageLite>& stub, const Upstreams::Request& request,
    const asio::any_io_executor& executor, std::function<void()> on_change,
    std::shared_ptr<const void> channel_in_use) {
  return std::make_unique<Stream>(stub, request, executor, std::move(on_change),
                                  std::move(channel_in_use));
}

}  // namespace shop::gateway
