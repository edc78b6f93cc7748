#include "orders/config.h"

#include "common/core/addresses.h"

namespace shop::orders {

namespace {

Deadlines ReadDeadlines(Env& env) {
  Deadlines deadlines;
  const auto read = [&](const char* name, std::chrono::milliseconds* deadline) {
    const auto seconds = env.Seconds(name);
    if (!seconds) return;
    if (seconds->count() == 0) env.Wrong(name, "must be more than 0");
    *deadline = *seconds;
  };
  read("ORDER_STOCK_SECONDS", &deadlines.stock);
  read("ORDER_PAYMENT_SECONDS", &deadlines.payment);
  read("ORDER_DISPATCH_SECONDS", &deadlines.dispatch);
  read("ORDER_DELIVERY_SECONDS", &deadlines.delivery);
  return deadlines;
}

OrderLimits ReadLimits(Env& env) {
  OrderLimits limits;
  limits.total = 100 * env.Integer("ORDER_MAX_TOTAL", limits.total / 100, 1, 90'000'000'000'000);
  limits.pending = env.Integer("ORDER_MAX_PENDING", limits.pending, 1, 1'000'000'000);
  return limits;
}

}  // namespace

Config Config::Read(Env& env) {
  return {
      .postgres = postgres::Settings::Read(env, "orders"),
      .kafka = kafka::KafkaSettings::Read(env),
      .service = rpc::ServiceSettings::Read(env, "orders", 32),
      .products_address = ServiceAddress(env, "products"),
      .cart_address = ServiceAddress(env, "cart"),
      .shipping_address = ServiceAddress(env, "shipping"),
      .currency = env.Currency(),
      .deadlines = ReadDeadlines(env),
      .limits = ReadLimits(env),
      .erasures = messaging::ReadErasurePace(env),
  };
}

}  // namespace shop::orders
