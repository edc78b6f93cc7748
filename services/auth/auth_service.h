// The rpcs of auth; proto/shop/auth/v1/auth.proto says what each promises. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "auth/account_store.h"
#include "auth/mailed_tokens.h"
#include "auth/password.h"
#include "auth/session_store.h"
#include "auth/signing_keys.h"
#include "common/audit/audit.h"
#include "common/postgres/pool.h"
#include "common/rpc/client.h"
#include "common/rpc/service.h"
#include "shop/auth/v1/auth.pb.h"

namespace shop::auth {

// Of the account that is registered. Valid as long as the request.
PasswordOwner OwnerOf(const v1::RegisterRequest& request);

struct AuthOptions {
  Lifetimes life = {};
  // KEY_ENCRYPTION_KEY: what tokens are sealed under that a mail is still to carry.
  std::string encryption_key = {};
  // Tells who registers nothing of who has the address, but by mail; who has not confirmed theirs does not
  // log in.
  bool private_registration = false;
  // Gives ADMINs and SUPER_ADMINs without a second factor no more than a USER may.
  bool require_second_factor = false;
  // Lets anybody register as SELLER or ADMIN. Nobody becomes SUPER_ADMIN this way.
  bool allow_role_at_registration = false;
};

class AuthService {
 public:
  // All of these must outlive the service. `users` carries this process's identity.
  AuthService(postgres::Pool& db, const rpc::Channel& users, PasswordHasher& passwords,
              const SigningKeys& keys, AuthOptions options);

  rpc::Service Methods();

  Result<users::v1::User> Register(const Call& call, const v1::RegisterRequest& request);
  Result<v1::LoginResponse> Login(const Call& call, const v1::LoginRequest& request);
  Result<v1::LoginResponse> Refresh(const Call& call, const v1::RefreshRequest& request);
  Result<google::protobuf::Empty> Logout(const Call& call, const v1::LogoutRequest& request);
  Result<google::protobuf::Empty> LogoutAll(const Call& call, const v1::LogoutAllRequest& request);
  Result<google::protobuf::Empty> ChangePassword(const Call& call,
                                                 const v1::ChangePasswordRequest& request);
  Result<google::protobuf::Empty> ForgotPassword(const Call& call,
                                                 const v1::ForgotPasswordRequest& request);
  Result<v1::ResetMail> PrepareResetMail(const Call& call,
                                         const v1::PrepareResetMailRequest& request);
  Result<google::protobuf::Empty> ResetPassword(const Call& call,
                                                const v1::ResetPasswordRequest& request);
  Result<v1::TotpSecret> BeginTotp(const Call& call, const v1::BeginTotpRequest& request);
  Result<v1::RecoveryCodes> ConfirmTotp(const Call& call, const v1::ConfirmTotpRequest& request);
  Result<google::protobuf::Empty> RemoveTotp(const Call& call,
                                             const v1::RemoveTotpRequest& request);
  Result<google::protobuf::Empty> ConfirmEmail(const Call& call,
                                               const v1::ConfirmEmailRequest& request);
  Result<google::protobuf::Empty> RequestEmailConfirmation(
      const Call& call, const v1::RequestEmailConfirmationRequest& request);
  Result<v1::ConfirmationMail> PrepareConfirmationMail(
      const Call& call, const v1::PrepareConfirmationMailRequest& request);
  Result<v1::Sessions> ListSessions(const Call& call, const v1::ListSessionsRequest& request);
  Result<v1::Export> ExportMe(const Call& call, const v1::ExportMeRequest& request);
  Result<users::v1::User> GetMe(const Call& call, const v1::GetMeRequest& request);
  Result<v1::Jwks> GetJwks(const Call& call, const v1::GetJwksRequest& request);

  // Creates account and profile without checking who asks; Register does that. Takes over a
  // registration that a crash interrupted. Whoever has `granted_by` must be a SUPER_ADMIN when the
  // profile is created: users looks, as a token may say what was so a quarter of an hour ago.
  Result<users::v1::User> Enroll(const Call& call, const v1::RegisterRequest& request,
                                 api::v1::Role role, std::optional<int64_t> granted_by = {});
  // Whether the address has an account that can sign in.
  bool IsRegistered(const std::string& email);
  // Creates the account, or gives it this password and the role SUPER_ADMIN; its address is confirmed.
  // Idempotent. Throws if that fails.
  void EnsureSuperAdmin(const Call& call, const v1::RegisterRequest& request);

 private:
  Result<users::v1::User> Profile(const Call& call, int64_t id) const;
  // Begins an attempt to log in, if it is not too early for one.
  Result<void> CountAttempt(const std::string& email);
  // A login's attempt, counted: whether the password is the account's.
  Result<void> CheckPassword(const Call& call, const std::string& email,
                             const std::optional<Account>& account, const std::string& password);
  // What Register does where private_registration is on: answers an empty user.
  Result<users::v1::User> RegisterInPrivate(const Call& call, const v1::RegisterRequest& request,
                                            api::v1::Role role);
  // Whoever has a token that was mailed to the account's address has confirmed it.
  Result<users::v1::User> MarkConfirmed(const Call& call, const Account& account) const;
  // What the mail about this request has to say.
  template <typename Mail>
  Result<Mail> Prepare(TokenKind kind, const std::string& request);
  void NoteFailure(const Call& call, const std::optional<Account>& account,
                   const std::string& reason);
  void KeepUpWithCost(const Call& call, const Account& account, const std::string& password);
  // The caller's account; refused if it was deleted.
  Result<Account> OwnAccount(const Call& call) const;
  // That the code is of the second factor, which the account has; uses it.
  Result<void> CheckSecondFactor(postgres::Tx& tx, int64_t account, const std::string& code) const;
  // Whether who has this role must have a second factor.
  bool NeedsSecondFactor(api::v1::Role role) const;
  v1::LoginResponse Tokens(users::v1::User user, const Continued& session,
                           bool second_factor) const;

  postgres::Pool& db_;
  audit::Reader audit_{db_};
  PasswordHasher& passwords_;
  const SigningKeys& keys_;
  const AuthOptions options_;
  const rpc::ClientMethod<users::v1::CreateUserRequest, users::v1::User> create_user_;
  const rpc::ClientMethod<users::v1::GetUserRequest, users::v1::User> get_user_;
  const rpc::ClientMethod<users::v1::ConfirmEmailRequest, users::v1::User> confirm_email_;
  const rpc::ClientMethod<users::v1::UpdateUserRoleRequest, users::v1::User> update_user_role_;
};

}  // namespace shop::auth
