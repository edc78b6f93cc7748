#include "gateway/openapi/document.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <iterator>
#include <set>

#include "gateway/gateway.h"
#include "google/api/annotations.pb.h"

namespace shop::gateway {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

const json::value& Document() {
  static const auto* const document =
      new json::value(json::parse(OpenApiDocument(DeclaredServices())));
  return *document;
}

const json::value& At(const char* pointer) {
  return Document().at_pointer(pointer);
}

void CollectReferences(const json::value& value, std::set<std::string>* references) {
  if (value.is_array()) {
    for (const json::value& element : value.as_array()) CollectReferences(element, references);
  }
  if (!value.is_object()) return;
  for (const auto& [name, member] : value.as_object()) {
    if (name == "$ref") {
      references->insert(std::string(member.as_string()));
    } else {
      CollectReferences(member, references);
    }
  }
}

TEST(OpenApi, HasAnOperationForEachMethodWithAnHttpBindingAndNoOther) {
  std::set<std::string> declared;
  for (const auto* service : DeclaredServices()) {
    for (int i = 0; i < service->method_count(); ++i) {
      if (service->method(i)->options().HasExtension(google::api::http)) {
        declared.insert(service->method(i)->name());
      }
    }
  }
  std::set<std::string> described;
  for (const auto& [path, item] : At("/paths").as_object()) {
    for (const auto& [verb, operation] : item.as_object()) {
      const std::string id(operation.at("operationId").as_string());
      EXPECT_TRUE(described.insert(id).second) << "two operations are called " << id;
    }
  }
  EXPECT_EQ(described, declared);
  EXPECT_FALSE(described.contains("ReserveStock"));
}

TEST(OpenApi, EveryReferenceLeadsSomewhere) {
  std::set<std::string> references;
  CollectReferences(Document(), &references);
  EXPECT_GT(references.size(), 10u);
  for (const std::string& reference : references) {
    boost::system::error_code error;
    EXPECT_NE(Document().find_pointer(reference.substr(1), error), nullptr) << reference;
  }
}

TEST(OpenApi, TheSameDescriptorsGiveTheSameBytes) {
  EXPECT_EQ(OpenApiDocument(DeclaredServices()), OpenApiDocument(DeclaredServices()));
}

TEST(OpenApi, FieldRulesAreInTheSchema) {
  const json::value& line = At("/components/schemas/OrderLine/properties/quantity");
  EXPECT_EQ(line.at("minimum").as_int64(), 1);
  EXPECT_EQ(line.at("maximum").as_int64(), 1000);
  EXPECT_EQ(At("/components/schemas/RegisterRequest/properties/email/maxLength").as_int64(), 254);
}

// Text that was left out, or erased since, is answered as "", whatever a sent one has to look like.
TEST(OpenApi, TextThatMayBeLeftOutMayBeEmptyInRequestsAndAnswers) {
  EXPECT_EQ(At("/components/schemas/AddressInput/properties/street/minLength").as_int64(), 1);
  EXPECT_FALSE(
      At("/components/schemas/Address/properties/street").as_object().contains("minLength"));
  for (const char* phone : {"/components/schemas/AddressInput/properties/phone/pattern",
                            "/components/schemas/Address/properties/phone/pattern"}) {
    EXPECT_THAT(std::string(At(phone).as_string()), ::testing::EndsWith(")?$")) << phone;
  }
}

TEST(OpenApi, AListThatHasToHaveItemsIsRequired) {
  const json::value& request = At("/components/schemas/RequestReturnRequest");
  EXPECT_EQ(request.at("required"), json::array{"items"});
  EXPECT_EQ(request.at_pointer("/properties/items/type"), "array");
}

TEST(OpenApi, MoneyIsADecimalNumber) {
  const json::value& price = At("/components/schemas/Product/properties/price");
  EXPECT_EQ(price.at("type").as_string(), "number");
  EXPECT_EQ(price.at("multipleOf").as_double(), 0.01);
}

TEST(OpenApi, TheProtosCommentsAreItsProse) {
  EXPECT_THAT(std::string(At("/paths/~1api~1v1~1orders/post/description").as_string()),
              HasSubstr("publishes ORDER_CREATED"));
}

TEST(OpenApi, AHeaderFieldIsAHeaderAndNotInTheBody) {
  const json::value& parameter = At("/paths/~1api~1v1~1orders/post/parameters/0");
  EXPECT_EQ(parameter.at("name").as_string(), "Idempotency-Key");
  EXPECT_EQ(parameter.at("in").as_string(), "header");
  EXPECT_FALSE(At("/components/schemas/CreateOrderRequest/properties")
                   .as_object()
                   .contains("idempotencyKey"));
}

TEST(OpenApi, WhatMayBeRepeatedSaysWhenItsAnswerIsGivenAgain) {
  const json::value& order = At("/paths/~1api~1v1~1orders/post/responses/201/headers");
  EXPECT_TRUE(order.as_object().contains("Idempotent-Replayed"));
  const json::value& read = At("/paths/~1api~1v1~1orders/get/responses/200/headers");
  EXPECT_FALSE(read.as_object().contains("Idempotent-Replayed"));
  EXPECT_FALSE(At("/components/headers/Idempotent-Replayed/required").as_bool());
}

TEST(OpenApi, ARawBodyIsBytes) {
  google::protobuf::FileDescriptorProto file;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        name: "letters.proto"
        package: "letters"
        syntax: "proto3"
        dependency: "google/api/annotations.proto"
        dependency: "shop/api/v1/options.proto"
        message_type {
          name: "Letter"
          field {
            name: "text"
            number: 1
            label: LABEL_OPTIONAL
            type: TYPE_BYTES
            options {
              [shop.api.v1.raw_body]: true
              [shop.api.v1.rules] { required: true }
            }
          }
          field {
            name: "signature"
            number: 2
            label: LABEL_OPTIONAL
            type: TYPE_STRING
            options {
              [shop.api.v1.header]: "Provider-Signature"
            }
          }
        }
        service {
          name: "LettersService"
          method {
            name: "Receive"
            input_type: ".letters.Letter"
            output_type: ".letters.Letter"
            options {
              [google.api.http] { post: "/letters" body: "text" }
              [shop.api.v1.access] { roles: ROLE_GUEST }
            }
          }
        }
      )pb",
      &file));
  google::protobuf::DescriptorPool pool(google::protobuf::DescriptorPool::generated_pool());
  ASSERT_NE(pool.BuildFile(file), nullptr);
  const json::value document =
      json::parse(OpenApiDocument({pool.FindServiceByName("letters.LettersService")}));
  const json::value& operation = document.at_pointer("/paths/~1letters/post");
  EXPECT_EQ(operation.at_pointer("/requestBody/content"),
            json::parse(R"({"application/octet-stream":{}})"));
  EXPECT_TRUE(operation.at_pointer("/requestBody/required").as_bool());
  EXPECT_EQ(operation.at_pointer("/parameters/0/name").as_string(), "Provider-Signature");
}

TEST(OpenApi, AnOperationSaysWhoMayCallIt) {
  const json::value& create = At("/paths/~1api~1v1~1products/post");
  EXPECT_EQ(json::serialize(create.at("x-roles")), R"(["SELLER","ADMIN"])");
  EXPECT_EQ(json::serialize(create.at("security")), R"([{"bearer":[]}])");
}

TEST(OpenApi, OnlyWhatNeedsATokenHasALock) {
  for (const auto& [path, item] : At("/paths").as_object()) {
    for (const auto& [verb, operation] : item.as_object()) {
      const std::string roles = json::serialize(operation.at("x-roles"));
      const bool is_public = roles.find("GUEST") != std::string::npos;
      EXPECT_EQ(operation.at("security").as_array().empty(), is_public) << verb << ' ' << path;
    }
  }
  EXPECT_EQ(json::serialize(At("/paths/~1api~1v1~1products/get/security")), "[]");
}

TEST(OpenApi, GroupsAreNamedForPeople) {
  EXPECT_EQ(json::serialize(At("/paths/~1api~1v1~1orders/post/tags")), R"(["Orders"])");
  std::set<std::string> groups;
  for (const json::value& tag : At("/tags").as_array()) {
    groups.insert(std::string(tag.at("name").as_string()));
    EXPECT_FALSE(tag.at("description").as_string().empty()) << tag.at("name");
  }
  for (const char* group : {"Auth", "Users", "Products", "Cart", "Orders"}) {
    EXPECT_TRUE(groups.contains(group)) << group;
  }
}

TEST(OpenApi, EveryOperationHasASummary) {
  for (const auto& [path, item] : At("/paths").as_object()) {
    for (const auto& [verb, operation] : item.as_object()) {
      const json::string& summary = operation.at("summary").as_string();
      EXPECT_FALSE(summary.empty()) << verb << ' ' << path;
      EXPECT_FALSE(summary.ends_with(".")) << summary;
    }
  }
}

TEST(OpenApi, ARegistrationMayTellAnythingOrNothing) {
  const json::object& responses = At("/paths/~1api~1v1~1auth~1register/post/responses").as_object();
  EXPECT_TRUE(responses.contains("201"));
  EXPECT_TRUE(responses.contains("409"));
  EXPECT_EQ(responses.at("202").at_pointer("/content/application~1json/example"),
            json::parse(R"({"success":true,"statusCode":202,"data":{}})"));
}

TEST(OpenApi, AReadSaysWhatBecomesOfConditions) {
  const json::value& read = At("/paths/~1api~1v1~1products~1{id}/get");
  const std::string parameters = json::serialize(read.at("parameters"));
  EXPECT_THAT(parameters, HasSubstr("#/components/parameters/If-Match-Read"));
  EXPECT_THAT(parameters, HasSubstr("#/components/parameters/If-None-Match"));
  for (const char* status : {"304", "412"}) {
    EXPECT_TRUE(read.at("responses").as_object().contains(status)) << status;
  }
  EXPECT_EQ(At("/components/parameters/If-Match-Read/name").as_string(), "If-Match");
}

TEST(OpenApi, WhoeverAsksCanAskForTooMuchAndOnlyWhoSendsABodyCanSendTooMuch) {
  for (const char* method : {"get", "post"}) {
    const json::object& responses =
        At(("/paths/~1api~1v1~1products/" + std::string(method) + "/responses").c_str())
            .as_object();
    EXPECT_TRUE(responses.contains("429")) << method;
    EXPECT_EQ(responses.contains("413"), method == std::string("post")) << method;
  }
}

// docs/access.md is AccessTable under a heading. When this fails, make the file anew from what it
// prints.
TEST(AccessTable, IsWhatTheDocsSay) {
  std::ifstream file(SHOP_DOCS_DIR "/access.md");
  const std::string docs{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_THAT(docs, HasSubstr(AccessTable(DeclaredServices())));
}

}  // namespace
}  // namespace shop::gateway
