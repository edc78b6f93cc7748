// The rpcs of users; proto/shop/users/v1/users.proto says what each promises. Thread-safe.
#pragma once

#include "common/audit/audit.h"
#include "common/postgres/pool.h"
#include "common/rpc/service.h"
#include "shop/users/v1/users.pb.h"

namespace shop::users {

class UsersService {
 public:
  explicit UsersService(postgres::Pool& db);

  rpc::Service Methods();

  Result<v1::ListUsersResponse> ListUsers(const Call& call, const v1::ListUsersRequest& request);
  Result<v1::User> GetUser(const Call& call, const v1::GetUserRequest& request);
  Result<v1::BatchGetUsersResponse> BatchGetUsers(const Call& call,
                                                  const v1::BatchGetUsersRequest& request);
  Result<v1::User> UpdateUser(const Call& call, const v1::UpdateUserRequest& request);
  Result<v1::User> UpdateUserRole(const Call& call, const v1::UpdateUserRoleRequest& request);
  Result<google::protobuf::Empty> DeleteUser(const Call& call,
                                             const v1::DeleteUserRequest& request);
  Result<v1::User> CreateUser(const Call& call, const v1::CreateUserRequest& request);
  Result<v1::User> ConfirmEmail(const Call& call, const v1::ConfirmEmailRequest& request);

 private:
  postgres::Pool& db_;
  audit::Reader audit_{db_};
};

}  // namespace shop::users
