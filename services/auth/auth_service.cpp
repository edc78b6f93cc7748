#include "auth/auth_service.h"

#include <absl/strings/ascii.h>
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/util/time_util.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "auth/account_export.h"
#include "auth/asked_mails.h"
#include "auth/login_attempts.h"
#include "auth/mailed_tokens.h"
#include "auth/second_factors.h"
#include "auth/session_store.h"
#include "auth/totp.h"
#include "common/messaging/outbox.h"
#include "common/telemetry/log.h"
#include "shop/events/v1/accounts.pb.h"

namespace shop::auth {
namespace {

using google::protobuf::Empty;
using postgres::InTransaction;
using postgres::Read;
using postgres::Tx;
using users::v1::User;

constexpr char kUsers[] = "shop.users.v1.UsersService";

Refusal EmailTaken() {
  return {Code::kAlreadyExists,
          "this e-mail address is registered already",
          {{"email", "is registered already"}}};
}

Refusal NotForThisRole() {
  return {Code::kPermissionDenied, "only a SUPER_ADMIN may register this role"};
}

// One answer for a wrong password, an unknown address and a deleted user.
Refusal WrongCredentials() {
  return {Code::kUnauthenticated, "e-mail or password is wrong"};
}

Refusal TooManyAttempts(int seconds) {
  return {.code = Code::kResourceExhausted,
          .message = "too many attempts to log in, try again in " + std::to_string(seconds) +
                     (seconds == 1 ? " second" : " seconds"),
          .reason = "TOO_MANY_ATTEMPTS",
          .retry_after = seconds};
}

Refusal TooManyMails(int seconds) {
  return {.code = Code::kResourceExhausted,
          .message = "this address has had three mails within an hour, ask again later",
          .reason = "TOO_MANY_MAILS",
          .retry_after = seconds};
}

Refusal SecondFactorIsOn() {
  return {.code = Code::kFailedPrecondition,
          .message = "there is a second factor, remove it first",
          .reason = "SECOND_FACTOR_ON"};
}

Refusal WrongCode() {
  return {.code = Code::kUnauthenticated,
          .message = "the code is wrong, or was used before",
          .reason = "SECOND_FACTOR_WRONG"};
}

messaging::EventContext ContextOf(const Call& call) {
  return {.source = "auth", .trace = call.trace};
}

// One answer for whatever is wrong with a refresh token.
Refusal NoSession() {
  return {Code::kUnauthenticated, "the session has ended, log in again"};
}

// Whatever is wrong with the token of a mail.
Refusal NoSuchToken() {
  return InvalidField("token", "is unknown, was used or has expired");
}

Refusal DeletedUser() {
  return {Code::kUnauthenticated, "this user was deleted"};
}

// Has a mail sent by which the address can be confirmed; false if it has had its share of the hour.
bool AskForConfirmation(Tx& tx, const std::string& email, const Call& call) {
  const std::optional<std::string> made = RequestToken(tx, TokenKind::kEmailConfirmation, email);
  if (!made) return false;
  events::v1::EmailConfirmationRequested event;
  event.set_request(*made);
  messaging::Publish(tx, event, ContextOf(call));
  return true;
}

// Once who may has replaced the password. Where a login needs a code too, only one that had it ends the count:
// otherwise codes could be tried without end in between.
void ForgetPasswordAttempts(Tx& tx, const Account& account) {
  if (!HasSecondFactor(tx, account.id)) ForgetAttempts(tx, account.email);
}

std::string Object(const Account& account) {
  return "user " + std::to_string(account.id);
}

Result<void> CheckNewPassword(std::string_view password, const PasswordOwner& owner) {
  std::optional<std::string> problem = PasswordProblem(password, owner);
  if (problem) return InvalidField("newPassword", *std::move(problem));
  return kDone;
}

// At most 200 characters of UTF-8.
std::string Beginning(std::string_view text) {
  size_t end = 0;
  for (int characters = 0; end < text.size(); ++end) {
    const bool starts = (static_cast<unsigned char>(text[end]) & 0xc0) != 0x80;
    if (starts && ++characters > 200) break;
  }
  return std::string(text.substr(0, end));
}

}  // namespace

PasswordOwner OwnerOf(const v1::RegisterRequest& request) {
  return {request.name(), request.email()};
}

AuthService::AuthService(postgres::Pool& db, const rpc::Channel& users, PasswordHasher& passwords,
                         const SigningKeys& keys, AuthOptions options)
    : db_(db),
      passwords_(passwords),
      keys_(keys),
      options_(options),
      create_user_(users, kUsers, "CreateUser"),
      get_user_(users, kUsers, "GetUser"),
      confirm_email_(users, kUsers, "ConfirmEmail"),
      update_user_role_(users, kUsers, "UpdateUserRole") {}

rpc::Service AuthService::Methods() {
  return rpc::Service("shop.auth.v1.AuthService")
      .On("Register", this, &AuthService::Register)
      .On("Login", this, &AuthService::Login)
      .On("Refresh", this, &AuthService::Refresh)
      .On("Logout", this, &AuthService::Logout)
      .On("LogoutAll", this, &AuthService::LogoutAll)
      .On("ChangePassword", this, &AuthService::ChangePassword)
      .On("ForgotPassword", this, &AuthService::ForgotPassword)
      .On("PrepareResetMail", this, &AuthService::PrepareResetMail)
      .On("ResetPassword", this, &AuthService::ResetPassword)
      .On("BeginTotp", this, &AuthService::BeginTotp)
      .On("ConfirmTotp", this, &AuthService::ConfirmTotp)
      .On("RemoveTotp", this, &AuthService::RemoveTotp)
      .On("ConfirmEmail", this, &AuthService::ConfirmEmail)
      .On("RequestEmailConfirmation", this, &AuthService::RequestEmailConfirmation)
      .On("PrepareConfirmationMail", this, &AuthService::PrepareConfirmationMail)
      .On("ListSessions", this, &AuthService::ListSessions)
      .On("ExportMe", this, &AuthService::ExportMe)
      .On("GetMe", this, &AuthService::GetMe)
      .On("GetJwks", this, &AuthService::GetJwks)
      .On("ListAuthAudit", &audit_, &audit::Reader::ListAudit);
}

Result<User> AuthService::Register(const Call& call, const v1::RegisterRequest& request) {
  if (std::optional<std::string> problem = PasswordProblem(request.password(), OwnerOf(request))) {
    return InvalidField("password", *std::move(problem));
  }
  const api::v1::Role role = request.has_role() ? request.role() : api::v1::ROLE_USER;
  const bool for_anybody = role == api::v1::ROLE_USER || (options_.allow_role_at_registration &&
                                                          role != api::v1::ROLE_SUPER_ADMIN);
  if (for_anybody && options_.private_registration && !call.caller.is_admin()) {
    return RegisterInPrivate(call, request, role);
  }
  if (for_anybody) return Enroll(call, request, role);
  if (call.caller.role != api::v1::ROLE_SUPER_ADMIN) return NotForThisRole();
  return Enroll(call, request, role, call.caller.user_id);
}

// An address that is known takes one hash, one call of users and two transactions, as one that is not.
Result<User> AuthService::RegisterInPrivate(const Call& call, const v1::RegisterRequest& request,
                                            api::v1::Role role) {
  const Result<User> made = Enroll(call, request, role);
  if (made) return User();
  if (made.refusal().code != Code::kAlreadyExists) return made.refusal();
  const std::string email = absl::AsciiStrToLower(request.email());
  const std::optional<Account> owner = Read(db_, [&](Tx& tx) { return FindAccount(tx, email); });
  if (!owner) return User();  // erased at this moment
  const Result<User> user = Profile(call, owner->id);
  if (!user && user.refusal().code != Code::kNotFound) return user.refusal();
  InTransaction(db_, [&](Tx& tx) {
    const std::optional<std::string> notice = AskForMail(tx, "registration notice", email);
    if (!notice) return;
    events::v1::RegistrationRepeated event;
    event.set_request(*notice);
    event.set_user_id(owner->id);
    messaging::Publish(tx, event, ContextOf(call));
  });
  return User();
}

Result<User> AuthService::Enroll(const Call& call, const v1::RegisterRequest& request,
                                 api::v1::Role role, std::optional<int64_t> granted_by) {
  const std::string email = absl::AsciiStrToLower(request.email());
  const Result<std::string> hash = passwords_.Hash(request.password(), call.deadline);
  if (!hash) return hash.refusal();

  const std::optional<Attempt> attempt =
      InTransaction(db_, [&](Tx& tx) { return BeginRegistration(tx, email, *hash); });
  if (!attempt) return EmailTaken();

  // From here on a crash leaves a PENDING account, which the next attempt takes over.
  users::v1::CreateUserRequest profile;
  profile.set_id(attempt->id);
  profile.set_name(request.name());
  profile.set_email(email);
  profile.set_role(role);
  if (request.has_birthdate()) profile.set_birthdate(request.birthdate());
  profile.set_attempt(attempt->number);
  if (granted_by) profile.set_granted_by(*granted_by);
  Result<User> user = create_user_(call, profile);
  if (!user) {
    if (user.refusal().reason == "ROLE_NOT_GRANTED") return NotForThisRole();
    switch (user.refusal().code) {
      case Code::kAborted:  // somebody registers the same address at this moment, and was later
        return EmailTaken();
      case Code::kFailedPrecondition:  // deleted meanwhile; USER_DELETED frees the address
        return Refusal{Code::kAborted, "the user was deleted at this moment, try again"};
      default:
        return user;
    }
  }
  const bool completed = InTransaction(db_, [&](Tx& tx) {
    if (!CompleteRegistration(tx, *attempt)) return false;
    AskForConfirmation(tx, email, call);
    return true;
  });
  if (!completed) return EmailTaken();
  return user;
}

Result<v1::LoginResponse> AuthService::Login(const Call& call, const v1::LoginRequest& request) {
  const std::string email = absl::AsciiStrToLower(request.email());
  const std::optional<Account> account = Read(db_, [&](Tx& tx) { return FindAccount(tx, email); });
  const Result<void> known = CheckPassword(call, email, account, request.password());
  if (!known) return known.refusal();

  Result<User> user = Profile(call, account->id);
  if (!user) {
    return user.refusal().code == Code::kNotFound ? WrongCredentials() : user.refusal();
  }
  // Were it another answer, who registers an address and logs in would know whether it was free.
  if (options_.private_registration && !user->email_confirmed()) return WrongCredentials();
  const NewSession session{.account = user->id(),
                           .profile_version = user->version(),
                           .user_agent = Beginning(request.user_agent())};
  bool second_factor = false;
  const Result<Continued> begun = InTransaction(db_, [&](Tx& tx) -> Result<Continued> {
    const std::optional<int64_t> role_version =
        HoldAccount(tx, account->id, account->password_version);
    if (!role_version) return WrongCredentials();  // by now
    if (user->version() < *role_version) {
      return Refusal{Code::kAborted, "the user's role is changed at this moment, try again"};
    }
    second_factor = HasSecondFactor(tx, account->id);
    if (second_factor) {
      const Result<void> known = CheckSecondFactor(tx, account->id, request.code());
      if (!known) return known.refusal();
    }
    ForgetAttempts(tx, email);
    Continued session_begun = BeginSession(tx, session, options_.life);
    audit::Record(tx, call, {"LOGIN", Object(*account)});
    return session_begun;
  });
  if (!begun) {
    if (begun.refusal().code == Code::kUnauthenticated) {
      NoteFailure(call, account, begun.refusal().reason);
    }
    return begun.refusal();
  }
  KeepUpWithCost(call, *account, request.password());
  return Tokens(*std::move(user), *begun, second_factor);
}

Result<void> AuthService::CheckPassword(const Call& call, const std::string& email,
                                        const std::optional<Account>& account,
                                        const std::string& password) {
  if (const Result<void> early = CountAttempt(email); !early) return early;
  std::optional<std::string> hash;
  if (account && account->active) hash = account->password_hash;
  const Result<bool> matches = passwords_.Matches(password, hash, call.deadline);
  if (!matches) return matches.refusal();
  if (*matches) return kDone;
  NoteFailure(call, account, "WRONG_PASSWORD");
  return WrongCredentials();
}

// The same work for an address that nobody has: who tries to log in must not learn that by the time.
void AuthService::NoteFailure(const Call& call, const std::optional<Account>& account,
                              const std::string& reason) {
  InTransaction(db_, [&](Tx& tx) {
    audit::Record(tx, call,
                  {"LOGIN_FAILED", account ? Object(*account) : "nobody", {{"reason", reason}}});
  });
}

Result<void> AuthService::CountAttempt(const std::string& email) {
  const int wait = InTransaction(db_, [&](Tx& tx) { return BeginAttempt(tx, email); });
  if (wait > 0) return TooManyAttempts(wait);
  return kDone;
}

// The password is known, so its hash can be made anew, as hashes are to be by now. The login has succeeded
// and goes on without that.
void AuthService::KeepUpWithCost(const Call& call, const Account& account,
                                 const std::string& password) {
  if (!passwords_.IsTooCheap(account.password_hash)) return;
  try {
    const Result<std::string> hash = passwords_.Hash(password, call.deadline);
    if (hash) InTransaction(db_, [&](Tx& tx) { ReplaceHash(tx, account, *hash); });
  } catch (const std::exception& error) {
    log::Warning("a password keeps its hash of a lower cost",
                 {{"userId", account.id}, {"error", error.what()}});
  }
}

Result<v1::LoginResponse> AuthService::Refresh(const Call& call,
                                               const v1::RefreshRequest& request) {
  const std::optional<int64_t> owner =
      Read(db_, [&](Tx& tx) { return FindOwner(tx, request.refresh_token()); });
  if (!owner) return NoSession();
  Result<User> user = Profile(call, *owner);
  if (!user) return user.refusal().code == Code::kNotFound ? NoSession() : user.refusal();

  // Should the role have changed, the session began with an older version of the profile, and ends when auth
  // hears of it.
  bool second_factor = false;
  const std::optional<Continued> next = InTransaction(db_, [&](Tx& tx) {
    second_factor = HasSecondFactor(tx, *owner);
    return ContinueSession(tx, request.refresh_token(), options_.life, ContextOf(call));
  });
  if (!next) return NoSession();
  return Tokens(*std::move(user), *next, second_factor);
}

Result<Empty> AuthService::Logout(const Call& call, const v1::LogoutRequest&) {
  InTransaction(db_, [&](Tx& tx) {
    EndSession(tx, call.caller.user_id, call.caller.session, ContextOf(call));
  });
  return Empty();
}

Result<Empty> AuthService::LogoutAll(const Call& call, const v1::LogoutAllRequest&) {
  InTransaction(db_, [&](Tx& tx) { EndSessions(tx, call.caller.user_id, ContextOf(call)); });
  return Empty();
}

Result<Empty> AuthService::ChangePassword(const Call& call,
                                          const v1::ChangePasswordRequest& request) {
  const Result<Account> account = OwnAccount(call);
  if (!account) return account.refusal();
  const Result<User> user = GetMe(call, {});
  if (!user) return user.refusal();
  const Result<void> good =
      CheckNewPassword(request.new_password(), {user->name(), account->email});
  if (!good) return good.refusal();
  const Result<void> known =
      CheckPassword(call, account->email, *account, request.current_password());
  if (!known) return known.refusal();
  const Result<std::string> hash = passwords_.Hash(request.new_password(), call.deadline);
  if (!hash) return hash.refusal();
  return InTransaction(db_, [&](Tx& tx) -> Result<Empty> {
    if (!ReplacePassword(tx, *account, *hash)) return WrongCredentials();  // by now
    ForgetPasswordAttempts(tx, *account);
    EndOtherSessions(tx, account->id, call.caller.session, ContextOf(call));
    audit::Record(tx, call, {"PASSWORD_CHANGED", Object(*account)});
    return Empty();
  });
}

// Knows nothing of who has the address, so that nobody learns of it by the answer or by the time.
Result<Empty> AuthService::ForgotPassword(const Call& call,
                                          const v1::ForgotPasswordRequest& request) {
  InTransaction(db_, [&](Tx& tx) {
    const std::optional<std::string> made =
        RequestToken(tx, TokenKind::kPasswordReset, absl::AsciiStrToLower(request.email()));
    if (!made) return;
    events::v1::PasswordResetRequested event;
    event.set_request(*made);
    messaging::Publish(tx, event, ContextOf(call));
  });
  return Empty();
}

Result<Account> AuthService::OwnAccount(const Call& call) const {
  const std::optional<Account> account =
      Read(db_, [&](Tx& tx) { return FindAccount(tx, call.caller.user_id); });
  if (!account || !account->active) return DeletedUser();
  return *account;
}

Result<v1::TotpSecret> AuthService::BeginTotp(const Call& call,
                                              const v1::BeginTotpRequest& request) {
  const Result<Account> account = OwnAccount(call);
  if (!account) return account.refusal();
  const Result<void> known =
      CheckPassword(call, account->email, *account, request.current_password());
  if (!known) return known.refusal();
  return InTransaction(db_, [&](Tx& tx) -> Result<v1::TotpSecret> {
    if (!LockAccount(tx, account->id)) return DeletedUser();
    const std::optional<std::string> secret =
        BeginSecondFactor(tx, account->id, options_.encryption_key);
    if (!secret) return SecondFactorIsOn();
    ForgetAttempts(tx, account->email);
    v1::TotpSecret told;
    told.set_secret(EncodeBase32(*secret));
    told.set_uri(TotpUri(*secret, account->email));
    return told;
  });
}

Result<v1::RecoveryCodes> AuthService::ConfirmTotp(const Call& call,
                                                   const v1::ConfirmTotpRequest& request) {
  const Result<Account> account = OwnAccount(call);
  if (!account) return account.refusal();
  if (const Result<void> early = CountAttempt(account->email); !early) return early.refusal();
  return InTransaction(db_, [&](Tx& tx) -> Result<v1::RecoveryCodes> {
    if (!LockAccount(tx, account->id)) return DeletedUser();
    if (HasSecondFactor(tx, account->id)) return SecondFactorIsOn();
    if (!AwaitsSecondFactor(tx, account->id)) {
      return Refusal{Code::kFailedPrecondition, "there is no second factor to confirm"};
    }
    const auto codes =
        ConfirmSecondFactor(tx, account->id, request.code(), options_.encryption_key);
    if (!codes) return WrongCode();
    ForgetAttempts(tx, account->email);
    // They began without the second factor.
    EndOtherSessions(tx, account->id, call.caller.session, ContextOf(call));
    audit::Record(tx, call, {"SECOND_FACTOR_ON", Object(*account)});
    v1::RecoveryCodes told;
    for (const std::string& code : *codes) told.add_recovery_codes(code);
    return told;
  });
}

Result<Empty> AuthService::RemoveTotp(const Call& call, const v1::RemoveTotpRequest& request) {
  const Result<Account> account = OwnAccount(call);
  if (!account) return account.refusal();
  const Result<User> user = GetMe(call, {});
  if (!user) return user.refusal();
  if (NeedsSecondFactor(user->role())) {
    return Refusal{.code = Code::kFailedPrecondition,
                   .message = "your role needs a second factor",
                   .reason = "SECOND_FACTOR_REQUIRED"};
  }
  const Result<void> known =
      CheckPassword(call, account->email, *account, request.current_password());
  if (!known) return known.refusal();
  return InTransaction(db_, [&](Tx& tx) -> Result<Empty> {
    if (!LockAccount(tx, account->id)) return DeletedUser();
    if (!HasSecondFactor(tx, account->id)) {
      return Refusal{Code::kFailedPrecondition, "there is no second factor"};
    }
    if (!UseCode(tx, account->id, request.code(), options_.encryption_key)) return WrongCode();
    ForgetAttempts(tx, account->email);
    RemoveSecondFactor(tx, account->id);
    audit::Record(tx, call, {"SECOND_FACTOR_OFF", Object(*account)});
    return Empty();
  });
}

Result<void> AuthService::CheckSecondFactor(Tx& tx, int64_t account,
                                            const std::string& code) const {
  if (code.empty()) {
    return Refusal{.code = Code::kUnauthenticated,
                   .message = "a code of the second factor is needed",
                   .reason = "SECOND_FACTOR_NEEDED"};
  }
  if (!UseCode(tx, account, code, options_.encryption_key)) return WrongCode();
  return kDone;
}

bool AuthService::NeedsSecondFactor(api::v1::Role role) const {
  return options_.require_second_factor &&
         (role == api::v1::ROLE_ADMIN || role == api::v1::ROLE_SUPER_ADMIN);
}

template <typename Mail>
Result<Mail> AuthService::Prepare(TokenKind kind, const std::string& request) {
  const std::optional<TokenMail> prepared = InTransaction(
      db_, [&](Tx& tx) { return PrepareMail(tx, kind, request, options_.encryption_key); });
  if (!prepared) return Refusal{Code::kNotFound, "there is no mail to send about this request"};
  Mail mail;
  mail.set_user_id(prepared->account);
  mail.set_token(prepared->token);
  return mail;
}

Result<v1::ResetMail> AuthService::PrepareResetMail(const Call&,
                                                    const v1::PrepareResetMailRequest& request) {
  return Prepare<v1::ResetMail>(TokenKind::kPasswordReset, request.request());
}

Result<Empty> AuthService::ResetPassword(const Call& call,
                                         const v1::ResetPasswordRequest& request) {
  constexpr TokenKind kReset = TokenKind::kPasswordReset;
  const std::optional<Account> account =
      Read(db_, [&](Tx& tx) { return FindTokenAccount(tx, kReset, request.token()); });
  if (!account) return NoSuchToken();
  const Result<User> user = Profile(call, account->id);
  if (!user) return user.refusal().code == Code::kNotFound ? NoSuchToken() : user.refusal();
  const Result<void> good =
      CheckNewPassword(request.new_password(), {user->name(), account->email});
  if (!good) return good.refusal();
  const Result<std::string> hash = passwords_.Hash(request.new_password(), call.deadline);
  if (!hash) return hash.refusal();
  // An address that nobody has confirmed may have been registered by somebody else, who turned a second factor on.
  // That one is removed before the confirmation, so that it is gone even if this process dies in between, and again
  // with the new password, as it may have been turned on once more.
  const bool first_confirmed = !user->email_confirmed();
  if (first_confirmed) {
    InTransaction(db_, [&](Tx& tx) { RemoveSecondFactor(tx, account->id); });
  }
  const Result<User> confirmed = MarkConfirmed(call, *account);
  if (!confirmed) return confirmed.refusal();
  return InTransaction(db_, [&](Tx& tx) -> Result<Empty> {
    if (!UseToken(tx, kReset, request.token())) return NoSuchToken();  // by now
    if (first_confirmed) RemoveSecondFactor(tx, account->id);
    if (!ReplacePassword(tx, *account, *hash)) {
      return Refusal{Code::kAborted, "the password was changed at this moment, try again"};
    }
    ForgetPasswordAttempts(tx, *account);
    EndSessions(tx, account->id, ContextOf(call));
    audit::Record(tx, call, {"PASSWORD_RESET", Object(*account)});
    return Empty();
  });
}

Result<Empty> AuthService::RequestEmailConfirmation(const Call& call,
                                                    const v1::RequestEmailConfirmationRequest&) {
  const Result<User> user = GetMe(call, {});
  if (!user) return user.refusal();
  if (user->email_confirmed()) {
    return Refusal{.code = Code::kFailedPrecondition,
                   .message = "this e-mail address is confirmed already",
                   .reason = "EMAIL_CONFIRMED"};
  }
  return InTransaction(db_, [&](Tx& tx) -> Result<Empty> {
    if (AskForConfirmation(tx, user->email(), call)) return Empty();
    return TooManyMails(NextRequestIn(tx, TokenKind::kEmailConfirmation, user->email()));
  });
}

Result<v1::ConfirmationMail> AuthService::PrepareConfirmationMail(
    const Call&, const v1::PrepareConfirmationMailRequest& request) {
  return Prepare<v1::ConfirmationMail>(TokenKind::kEmailConfirmation, request.request());
}

Result<User> AuthService::MarkConfirmed(const Call& call, const Account& account) const {
  users::v1::ConfirmEmailRequest confirmed;
  confirmed.set_id(account.id);
  confirmed.set_email(account.email);
  Result<User> user = confirm_email_(call, confirmed);
  if (!user && user.refusal().code == Code::kNotFound) return NoSuchToken();
  return user;
}

// The token is used once users has the confirmation: should this process die in between, it is still good,
// and confirming again changes nothing.
Result<Empty> AuthService::ConfirmEmail(const Call& call, const v1::ConfirmEmailRequest& request) {
  constexpr TokenKind kConfirmation = TokenKind::kEmailConfirmation;
  const std::optional<Account> account =
      Read(db_, [&](Tx& tx) { return FindTokenAccount(tx, kConfirmation, request.token()); });
  if (!account) return NoSuchToken();
  const Result<User> confirmed = MarkConfirmed(call, *account);
  if (!confirmed) return confirmed.refusal();
  InTransaction(db_, [&](Tx& tx) { UseToken(tx, kConfirmation, request.token()); });
  return Empty();
}

Result<v1::Sessions> AuthService::ListSessions(const Call& call, const v1::ListSessionsRequest&) {
  return Read(db_, [&](Tx& tx) {
    return auth::ListSessions(tx, call.caller.user_id, call.caller.session);
  });
}

Result<v1::Export> AuthService::ExportMe(const Call& call, const v1::ExportMeRequest&) {
  const Result<User> user = GetMe(call, {});
  if (!user) return user.refusal();
  v1::Export all = Read(db_, [&](Tx& tx) {
    v1::Export here;
    *here.mutable_account() = DescribeAccount(tx, user->id());
    *here.mutable_sessions() = auth::ListSessions(tx, user->id(), call.caller.session).items();
    return here;
  });
  *all.mutable_made_at() = google::protobuf::util::TimeUtil::GetCurrentTime();
  *all.mutable_profile() = *user;
  AddLinks(&all);
  return all;
}

Result<User> AuthService::GetMe(const Call& call, const v1::GetMeRequest&) {
  Result<User> user = Profile(call, call.caller.user_id);
  if (!user && user.refusal().code == Code::kNotFound) {
    return DeletedUser();
  }
  return user;
}

Result<v1::Jwks> AuthService::GetJwks(const Call&, const v1::GetJwksRequest&) {
  v1::Jwks jwks;
  for (const PublicKey& key : keys_.published()) {
    v1::Jwk* jwk = jwks.add_keys();
    jwk->set_kty("EC");
    jwk->set_crv("P-256");
    jwk->set_x(key.x);
    jwk->set_y(key.y);
    jwk->set_use("sig");
    jwk->set_alg("ES256");
    jwk->set_kid(key.kid);
  }
  return jwks;
}

bool AuthService::IsRegistered(const std::string& email) {
  const std::optional<Account> account =
      Read(db_, [&](Tx& tx) { return FindAccount(tx, absl::AsciiStrToLower(email)); });
  return account && account->active;
}

void AuthService::EnsureSuperAdmin(const Call& call, const v1::RegisterRequest& request) {
  const std::optional<Account> account =
      Read(db_, [&](Tx& tx) { return FindAccount(tx, absl::AsciiStrToLower(request.email())); });
  if (!account || !account->active) {
    const Result<User> user = Enroll(call, request, api::v1::ROLE_SUPER_ADMIN);
    if (!user) throw std::runtime_error(user.refusal().message);
    log::Info("the operator's account was created", {{"userId", user->id()}});
    return EnsureSuperAdmin(call, request);
  }

  const Result<bool> matches =
      passwords_.Matches(request.password(), account->password_hash, call.deadline);
  if (!matches) throw std::runtime_error(matches.refusal().message);
  if (!*matches) {
    const Result<std::string> hash = passwords_.Hash(request.password(), call.deadline);
    if (!hash) throw std::runtime_error(hash.refusal().message);
    InTransaction(db_, [&](Tx& tx) {
      if (!ReplacePassword(tx, *account, *hash)) {
        throw std::runtime_error("the password was changed at this moment");  // tried again
      }
      EndSessions(tx, account->id, ContextOf(call));
      audit::Record(tx, call, {"PASSWORD_CHANGED", Object(*account), {{"by", "the settings"}}});
    });
    log::Info("the operator's account has a new password", {{"userId", account->id}});
  }

  Result<User> user = Profile(call, account->id);
  if (user && user->role() != api::v1::ROLE_SUPER_ADMIN) {
    users::v1::UpdateUserRoleRequest promotion;
    promotion.set_id(account->id);
    promotion.set_role(api::v1::ROLE_SUPER_ADMIN);
    user = update_user_role_(call, promotion);
    if (user) log::Info("the operator's account is a SUPER_ADMIN now", {{"userId", account->id}});
  }
  // Who has named the address in the settings stands for it.
  if (user && !user->email_confirmed()) {
    // Somebody else may have registered it before, and turned a second factor on.
    InTransaction(db_, [&](Tx& tx) { RemoveSecondFactor(tx, account->id); });
    user = MarkConfirmed(call, *account);
  }
  if (!user) throw std::runtime_error(user.refusal().message);
}

v1::LoginResponse AuthService::Tokens(User user, const Continued& session,
                                      bool second_factor) const {
  v1::LoginResponse response;
  response.set_second_factor_required(!second_factor && NeedsSecondFactor(user.role()));
  const api::v1::Role role = response.second_factor_required() ? api::v1::ROLE_USER : user.role();
  response.set_access_token(
      keys_.Sign(user.id(), role, options_.life.access_token, session.session));
  response.set_expires_in(static_cast<int32_t>(options_.life.access_token.count()));
  response.set_refresh_token(session.refresh_token);
  *response.mutable_user() = std::move(user);
  return response;
}

Result<User> AuthService::Profile(const Call& call, int64_t id) const {
  users::v1::GetUserRequest request;
  request.set_id(id);
  return get_user_(call, request);
}

}  // namespace shop::auth
