// The envelopes of the HTTP contract: successes, errors, and which HTTP status a refusal has.
#pragma once

#include <google/protobuf/message.h>

#include <chrono>
#include <string>
#include <string_view>

#include "common/core/result.h"
#include "gateway/http/message.h"
#include "gateway/request_context.h"

namespace shop::gateway {

// {"success":true,"statusCode":200,"data":…}
std::string Envelope(int status, const google::protobuf::Message& data);

int StatusOf(const Refusal& refusal);

// The parts of an error's body.
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

// The response with this error.
HttpResponse ErrorResponse(const RequestContext& context, int status, std::string_view code,
                           std::string_view message,
                           const std::vector<FieldViolation>* details = nullptr);
// What a refusal, of the gateway or of a service, is to the client, with the headers that belong to
// its status. Says nothing of faults that are ours (500 and more).
HttpResponse RefusalResponse(const RequestContext& context, const Refusal& refusal);
// For a request that could not be read, or not whole. Ends the connection: where its next request
// begins is not known.
HttpResponse FaultResponse(const RequestContext& context, const HttpFault& fault);
// 405, naming the methods that the path has; `allow` is that of the header.
HttpResponse MethodNotAllowed(const RequestContext& context, std::string_view methods,
                              std::string_view allow);

}  // namespace shop::gateway
