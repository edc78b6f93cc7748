// Logs in and places an order over gRPC, past the gateway, and prints the order's id:
//
//   place_order 127.0.0.1:7001 127.0.0.1:7005 alice@example.com 'Walk-Through-1!' 12
//
// The arguments are the addresses of auth and orders, e-mail and password, and a product's id. Where the services
// speak TLS, SHOP_CERTS names the folder with ca.crt, client.crt and client.key that `make certs` makes.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "shop/auth/v1/auth.grpc.pb.h"
#include "shop/orders/v1/orders.grpc.pb.h"

namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  const char* certs = std::getenv("SHOP_CERTS");
  if (certs == nullptr) {
    return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  }
  const std::string folder = certs;
  return grpc::CreateChannel(
      address, grpc::SslCredentials({ReadFile(folder + "/ca.crt"), ReadFile(folder + "/client.key"),
                                     ReadFile(folder + "/client.crt")}));
}

void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
}

void Check(const grpc::Status& status, const std::string& what) {
  if (!status.ok()) throw std::runtime_error(what + ": " + status.error_message());
}

std::string LogIn(const std::string& address, const std::string& email,
                  const std::string& password) {
  const auto auth = shop::auth::v1::AuthService::NewStub(Connect(address));
  shop::auth::v1::LoginRequest request;
  request.set_email(email);
  request.set_password(password);
  grpc::ClientContext context;
  SetDeadline(&context);
  shop::auth::v1::LoginResponse response;
  Check(auth->Login(&context, request, &response), "login");
  return response.access_token();
}

int64_t PlaceOrder(const std::string& address, const std::string& token, int64_t product) {
  const auto orders = shop::orders::v1::OrdersService::NewStub(Connect(address));
  shop::orders::v1::CreateOrderRequest request;
  auto* line = request.add_items();
  line->set_product_id(product);
  line->set_quantity(1);
  grpc::ClientContext context;
  SetDeadline(&context);
  context.AddMetadata("authorization", "Bearer " + token);
  shop::orders::v1::Order order;
  Check(orders->CreateOrder(&context, request, &order), "order");
  return order.id();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: place_order AUTH ORDERS EMAIL PASSWORD PRODUCT\n";
    return 2;
  }
  try {
    const std::string token = LogIn(argv[1], argv[3], argv[4]);
    std::cout << PlaceOrder(argv[2], token, std::stoll(argv[5])) << "\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
