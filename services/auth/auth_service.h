// The rpcs of auth; proto/shop/auth/v1/auth.proto says what each promises. Thread-safe.
#pragma once

#include <chrono>

#include "auth/password.h"
#include "common/auth/access_token.h"
#include "common/postgres/pool.h"
#include "common/rpc/client.h"
#include "common/rpc/service.h"
#include "shop/auth/v1/auth.pb.h"

namespace shop::auth {

struct AuthOptions {
  std::chrono::seconds token_life{900};
  // Lets anybody register as SELLER or ADMIN. Nobody becomes SUPER_ADMIN this way.
  bool allow_role_at_registration = false;
};

class AuthService {
 public:
  // All of these must outlive the service. `users` carries this process's identity.
  AuthService(postgres::Pool& db, const rpc::Channel& users, PasswordHasher& passwords,
              const TokenSigner& signer, AuthOptions options);

  rpc::Service Methods();

  Result<users::v1::User> Register(const Call& call, const v1::RegisterRequest& request);
  Result<v1::LoginResponse> Login(const Call& call, const v1::LoginRequest& request);
  Result<users::v1::User> GetMe(const Call& call, const v1::GetMeRequest& request);
  Result<v1::Jwks> GetJwks(const Call& call, const v1::GetJwksRequest& request);

  // Makes account and profile, whoever asks; Register checks that. A registration that was cut off
  // half-way is taken over.
  Result<users::v1::User> Enroll(const Call& call, const v1::RegisterRequest& request,
                                 api::v1::Role role);
  // Whether the address has an account that can sign in.
  bool IsRegistered(const std::string& email);
  // Sees to it that this account exists with this password and is a SUPER_ADMIN's. Repeating it is
  // harmless. Throws when it cannot be done now.
  void EnsureSuperAdmin(const Call& call, const v1::RegisterRequest& request);

 private:
  Result<users::v1::User> Profile(const Call& call, int64_t id) const;

  postgres::Pool& db_;
  PasswordHasher& passwords_;
  const TokenSigner& signer_;
  const AuthOptions options_;
  const rpc::ClientMethod<users::v1::CreateUserRequest, users::v1::User> create_user_;
  const rpc::ClientMethod<users::v1::GetUserRequest, users::v1::User> get_user_;
  const rpc::ClientMethod<users::v1::UpdateUserRoleRequest, users::v1::User> update_user_role_;
};

}  // namespace shop::auth
