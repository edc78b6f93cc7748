#include "gateway/envelope.h"

#include <algorithm>

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

HttpResponse ErrorResponse(const RequestContext& context, int status, std::string_view code,
                           std::string_view message, const std::vector<FieldViolation>* details) {
  return {status,
          {},
          ErrorBody({status, code, message, details, context.request.path(), context.request_id})};
}

HttpResponse RefusalResponse(const RequestContext& context, const Refusal& refusal) {
  const int status = StatusOf(refusal);
  const std::string_view code =
      refusal.reason.empty() ? std::string_view(Name(refusal.code)) : refusal.reason;
  if (status == 500) {
    return ErrorResponse(context, status, Name(Code::kInternal),
                         "something went wrong on our side");
  }
  HttpResponse response =
      status == 503   ? ErrorResponse(context, status, code, "the service is away for the moment")
      : status == 504 ? ErrorResponse(context, status, code, "the request took too long")
      : status == 501 ? ErrorResponse(context, status, code, "this is not served yet")
                      : ErrorResponse(context, status, code, refusal.message, &refusal.details);
  if (status == 401) {
    response.AddHeader("WWW-Authenticate",
                       context.token_sent ? R"(Bearer error="invalid_token")" : "Bearer");
  }
  // ABORTED is about another request that is at the same thing just now.
  if (status == 429 || status == 503 || (status == 409 && refusal.code == Code::kAborted)) {
    response.AddHeader("Retry-After", std::to_string(std::max(refusal.retry_after, 1)));
  }
  return response;
}

HttpResponse FaultResponse(const RequestContext& context, const HttpFault& fault) {
  HttpResponse response = ErrorResponse(context, fault.status, fault.code, fault.message);
  if (fault.status == 429 || fault.status == 503) response.AddHeader("Retry-After", "1");
  response.close = true;
  return response;
}

HttpResponse MethodNotAllowed(const RequestContext& context, std::string_view methods,
                              std::string_view allow) {
  HttpResponse response = ErrorResponse(context, 405, "METHOD_NOT_ALLOWED",
                                        "this path takes " + std::string(methods) + " alone");
  response.AddHeader("Allow", allow);
  return response;
}

}  // namespace shop::gateway
