#pragma once

#include <google/protobuf/message.h>

#include <optional>

#include "common/core/result.h"

namespace shop::gateway {

// A running call of a method that streams its responses (Upstreams::OpenStream). Holds one message at
// most: the next one is asked for by Next, so that a client that does not read holds its service's
// stream back, and nothing else. For the executor that it was opened with; its destruction cancels
// the call.
class UpstreamStream {
 public:
  struct End {
    std::optional<Refusal> refusal;  // nothing when the service has ended it
  };

  virtual ~UpstreamStream() = default;

  // Whether the service has accepted the call.
  bool is_open() const { return open_; }
  // The next message, null until it has come.
  const google::protobuf::Message* message() const { return message_; }
  // How it has ended, after the last message.
  const std::optional<End>& end() const { return end_; }
  // Lets go of the message and asks for the one after it.
  virtual void Next() = 0;

 protected:
  bool open_ = false;
  const google::protobuf::Message* message_ = nullptr;
  std::optional<End> end_;
};

}  // namespace shop::gateway
