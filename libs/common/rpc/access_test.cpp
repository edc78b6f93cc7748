#include "common/rpc/access.h"

#include <gmock/gmock.h>
#include <google/protobuf/compiler/parser.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "google/api/annotations.pb.h"

namespace shop::rpc {
namespace {

using google::protobuf::MethodDescriptor;

constexpr char kProto[] = R"pb(
  syntax = "proto3"
  ;
  package access.test;
  import "google/api/annotations.proto";
  import "shop/api/v1/options.proto";
  message Nothing {}
  service Doors {
    rpc Public(Nothing) returns (Nothing) {
      option (shop.api.v1.access) = { roles: [ ROLE_GUEST ] };
    }
    rpc User(Nothing) returns (Nothing) {
      option (google.api.http) = { get: "/user" };
      option (shop.api.v1.access) = { roles: [ ROLE_USER ] };
    }
    rpc Seller(Nothing) returns (Nothing) {
      option (shop.api.v1.access) = { roles: [ ROLE_SELLER ] };
    }
    rpc SellerOrAdmin(Nothing) returns (Nothing) {
      option (shop.api.v1.access) = { roles: [ ROLE_SELLER, ROLE_ADMIN ] };
    }
    rpc Admin(Nothing) returns (Nothing) {
      option (shop.api.v1.access) = { roles: [ ROLE_ADMIN ] };
    }
    rpc SuperAdmin(Nothing) returns (Nothing) {
      option (shop.api.v1.access) = { roles: [ ROLE_SUPER_ADMIN ] };
    }
    rpc Internal(Nothing) returns (Nothing) {
      option (shop.api.v1.access) = { services: [ "orders", "cart" ] };
    }
    rpc UserOrService(Nothing) returns (Nothing) {
      option (shop.api.v1.access) = { roles: [ ROLE_USER ] services: [ "auth" ] };
    }
    rpc Silent(Nothing) returns (Nothing);
    rpc Empty(Nothing) returns (Nothing) { option (shop.api.v1.access) = {}; }
    rpc Nobody(Nothing) returns (Nothing) {
      option (shop.api.v1.access) = { roles: [ ROLE_UNSPECIFIED ] };
    }
    rpc InternalOverHttp(Nothing) returns (Nothing) {
      option (google.api.http) = { get: "/internal" };
      option (shop.api.v1.access) = { services: [ "orders" ] };
    }
  }
)pb";

const MethodDescriptor& Method(const std::string& name) {
  static const google::protobuf::ServiceDescriptor* service = [] {
    // The imports must be linked in to be found below.
    google::api::HttpRule::descriptor();
    api::v1::Access::descriptor();
    google::protobuf::io::ArrayInputStream input(kProto, sizeof kProto - 1);
    google::protobuf::io::Tokenizer tokenizer(&input, nullptr);
    google::protobuf::FileDescriptorProto file;
    file.set_name("access_test.proto");
    if (!google::protobuf::compiler::Parser().Parse(&tokenizer, &file)) std::abort();
    static google::protobuf::DescriptorPool pool(
        google::protobuf::DescriptorPool::generated_pool());
    return pool.BuildFile(file)->service(0);
  }();
  const MethodDescriptor* method = service->FindMethodByName(name);
  if (method == nullptr) throw std::out_of_range(name);
  return *method;
}

Caller A(api::v1::Role role) {
  Caller caller;
  caller.user_id = 7;
  caller.role = role;
  return caller;
}
Caller TheService(const std::string& name) {
  Caller caller;
  caller.service = name;
  return caller;
}

// The code with which the caller is turned away, or "in".
std::string Knock(const std::string& method, const Caller& caller) {
  const Result<void> allowed = CheckAccess(Method(method), caller);
  return allowed ? "in" : Name(allowed.refusal().code);
}

TEST(Access, APublicMethodLetsEverybodyIn) {
  EXPECT_EQ(Knock("Public", Caller{}), "in");
  EXPECT_EQ(Knock("Public", A(api::v1::ROLE_USER)), "in");
  EXPECT_EQ(Knock("Public", TheService("cart")), "in");
  EXPECT_TRUE(IsPublic(Method("Public")));
  for (const char* method : {"User", "SuperAdmin", "Internal", "UserOrService", "Silent"}) {
    EXPECT_FALSE(IsPublic(Method(method))) << method;
  }
}

TEST(Access, AGuestIsAskedToSignIn) {
  for (const char* method :
       {"User", "Seller", "Admin", "SuperAdmin", "Internal", "UserOrService"}) {
    EXPECT_EQ(Knock(method, Caller{}), "UNAUTHENTICATED") << method;
  }
}

TEST(Access, RolesIncludeEachOtherAsDeclared) {
  using namespace api::v1;
  const std::vector<std::pair<std::string, std::vector<Role>>> allowed = {
      {"User", {ROLE_USER, ROLE_SELLER, ROLE_ADMIN, ROLE_SUPER_ADMIN}},
      {"Seller", {ROLE_SELLER}},
      {"SellerOrAdmin", {ROLE_SELLER, ROLE_ADMIN, ROLE_SUPER_ADMIN}},
      {"Admin", {ROLE_ADMIN, ROLE_SUPER_ADMIN}},
      {"SuperAdmin", {ROLE_SUPER_ADMIN}},
      {"Internal", {}},
      {"UserOrService", {ROLE_USER, ROLE_SELLER, ROLE_ADMIN, ROLE_SUPER_ADMIN}}};
  for (const auto& [method, roles] : allowed) {
    for (const Role role : {ROLE_USER, ROLE_SELLER, ROLE_ADMIN, ROLE_SUPER_ADMIN}) {
      const bool in = std::find(roles.begin(), roles.end(), role) != roles.end();
      EXPECT_EQ(Knock(method, A(role)), in ? "in" : "PERMISSION_DENIED")
          << method << " " << Role_Name(role);
    }
  }
}

TEST(Access, OnlyTheNamedServicesComeIn) {
  EXPECT_EQ(Knock("Internal", TheService("orders")), "in");
  EXPECT_EQ(Knock("Internal", TheService("cart")), "in");
  EXPECT_EQ(Knock("Internal", TheService("stock")), "PERMISSION_DENIED");
  EXPECT_EQ(Knock("UserOrService", TheService("auth")), "in");
  EXPECT_EQ(Knock("UserOrService", TheService("orders")), "PERMISSION_DENIED");
}

TEST(Access, AServiceIsNoUser) {
  EXPECT_EQ(Knock("User", TheService("orders")), "PERMISSION_DENIED");
  EXPECT_EQ(Knock("SuperAdmin", TheService("orders")), "PERMISSION_DENIED");
}

TEST(Access, AMethodWithoutTheOptionLetsNobodyIn) {
  for (const char* method : {"Silent", "Empty", "Nobody"}) {
    EXPECT_NE(Knock(method, Caller{}), "in") << method;
    EXPECT_NE(Knock(method, A(api::v1::ROLE_SUPER_ADMIN)), "in") << method;
    EXPECT_NE(Knock(method, TheService("orders")), "in") << method;
  }
}

TEST(Access, AMethodMustSayWhoMayCallIt) {
  for (const char* method : {"Silent", "Empty", "Nobody", "InternalOverHttp"}) {
    try {
      RequireAccessOption(Method(method));
      ADD_FAILURE() << method << " was taken";
    } catch (const std::logic_error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(std::string("access.test.Doors.") + method));
    }
  }
  for (const char* method : {"Public", "User", "Internal", "UserOrService"}) {
    EXPECT_NO_THROW(RequireAccessOption(Method(method))) << method;
  }
}

}  // namespace
}  // namespace shop::rpc
