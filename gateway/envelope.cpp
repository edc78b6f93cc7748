#include "gateway/envelope.h"

#include <google/protobuf/timestamp.pb.h>

#include "common/json/codec.h"

namespace shop::gateway {

std::string Envelope(int status, const google::protobuf::Message& data) {
  std::string body;
  body.reserve(1024);
  body.append(R"({"success":true,"statusCode":)").append(std::to_string(status));
  body.append(R"(,"data":)");
  json::Write(data, &body);
  body += '}';
  return body;
}

int StatusOf(const Refusal& refusal) {
  if (refusal.reason == "IDEMPOTENCY_KEY_REUSED") return 422;
  if (refusal.reason == "VERSION_CHANGED") return 412;
  switch (refusal.code) {
    case Code::kInvalidArgument:
    case Code::kOutOfRange:
      return 400;
    case Code::kUnauthenticated:
      return 401;
    case Code::kPermissionDenied:
      return 403;
    case Code::kNotFound:
      return 404;
    case Code::kAlreadyExists:
    case Code::kFailedPrecondition:
    case Code::kAborted:
      return 409;
    case Code::kResourceExhausted:
      return 429;
    case Code::kInternal:
      return 500;
    case Code::kUnimplemented:
      return 501;
    case Code::kUnavailable:
      return 503;
    case Code::kDeadlineExceeded:
      return 504;
  }
  return 500;
}

std::string ErrorBody(const Error& error) {
  std::string body;
  body.reserve(512);
  body.append(R"({"success":false,"statusCode":)").append(std::to_string(error.status));
  body.append(R"(,"timestamp":)");
  json::WriteTime(error.time, &body);
  body.append(R"(,"path":)");
  json::WriteString(error.path, &body);
  body.append(R"(,"error":{"code":)");
  json::WriteString(error.code, &body);
  body.append(R"(,"message":)");
  json::WriteString(error.message, &body);
  body.append(R"(,"details":[)");
  if (error.details != nullptr) {
    for (const FieldViolation& violation : *error.details) {
      if (body.back() != '[') body += ',';
      body.append(R"({"field":)");
      json::WriteString(violation.field, &body);
      body.append(R"(,"message":)");
      json::WriteString(violation.message, &body);
      body += '}';
    }
  }
  body.append(R"(]},"requestId":)");
  json::WriteString(error.request_id, &body);
  body += '}';
  return body;
}

}  // namespace shop::gateway
