// What the gateway answers: the envelopes of the HTTP contract, and which HTTP status a refusal is.
#pragma once

#include <google/protobuf/message.h>

#include <chrono>
#include <string>
#include <string_view>

#include "common/core/result.h"
#include "gateway/http/message.h"

namespace shop::gateway {

// {"success":true,"statusCode":200,"data":…}
std::string Envelope(int status, const google::protobuf::Message& data);

int StatusOf(const Refusal& refusal);

// What stands in an error's body.
struct Error {
  int status;
  std::string_view code;  // NOT_FOUND
  std::string_view message;
  const std::vector<FieldViolation>* details = nullptr;
  std::string_view path;  // of the request, as it was sent
  std::string_view request_id;
  std::chrono::system_clock::time_point time = std::chrono::system_clock::now();
};

// {"success":false,"statusCode":404,"timestamp":…,"path":…,"error":{…},"requestId":…}
std::string ErrorBody(const Error& error);

}  // namespace shop::gateway
