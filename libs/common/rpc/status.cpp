#include "common/rpc/status.h"

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace shop::rpc {

grpc::Status ToStatus(const Refusal& refusal) {
  const auto code = static_cast<grpc::StatusCode>(refusal.code);
  if (refusal.details.empty() && refusal.reason.empty() && refusal.retry_after == 0) {
    return {code, refusal.message};
  }

  google::rpc::Status status;
  status.set_code(static_cast<int>(refusal.code));
  status.set_message(refusal.message);
  if (!refusal.details.empty()) {
    google::rpc::BadRequest bad_request;
    for (const FieldViolation& violation : refusal.details) {
      auto* added = bad_request.add_field_violations();
      added->set_field(violation.field);
      added->set_description(violation.message);
    }
    status.add_details()->PackFrom(bad_request);
  }
  if (!refusal.reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_reason(refusal.reason);
    info.set_domain("shop");
    status.add_details()->PackFrom(info);
  }
  if (refusal.retry_after > 0) {
    google::rpc::RetryInfo info;
    info.mutable_retry_delay()->set_seconds(refusal.retry_after);
    status.add_details()->PackFrom(info);
  }
  return {code, refusal.message, status.SerializeAsString()};
}

Refusal FromStatus(const grpc::Status& status) {
  Refusal refusal{Code::kInternal, status.error_message()};
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::UNAUTHENTICATED:
      refusal.code = static_cast<Code>(status.error_code());
      break;
    default:
      break;
  }
  google::rpc::Status details;
  if (status.error_details().empty() || !details.ParseFromString(status.error_details())) {
    return refusal;
  }
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::BadRequest bad_request;
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        refusal.details.push_back({violation.field(), violation.description()});
      }
    } else if (detail.UnpackTo(&info)) {
      refusal.reason = info.reason();
    } else if (detail.UnpackTo(&retry)) {
      refusal.retry_after = static_cast<int>(retry.retry_delay().seconds()) +
                            (retry.retry_delay().nanos() > 0 ? 1 : 0);
    }
  }
  return refusal;
}

}  // namespace shop::rpc
