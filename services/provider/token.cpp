#include "provider/token.h"

namespace shop::provider {

const Behaviour& BehaviourOf(std::string_view token) {
  static constexpr Behaviour kBehaviours[]{
      {.token = "tok_approve"},
      {.token = "tok_decline",
       .decline_code = "card_declined",
       .decline_message = "the card was declined"},
      {.token = "tok_insufficient_funds",
       .decline_code = "insufficient_funds",
       .decline_message = "there is not enough money on the card"},
      {.token = "tok_expired_card",
       .decline_code = "expired_card",
       .decline_message = "the card has expired"},
      {.token = "tok_timeout_charged", .silent = true},
      {.token = "tok_timeout", .drop_first = true},
      {.token = "tok_reset_charged", .reset = true},
      {.token = "tok_late", .late = true, .webhooks = 1},
      {.token = "tok_twice", .webhooks = 2},
      {.token = "tok_webhook_lost", .late = true},
  };
  static constexpr Behaviour kUnknown{
      .token = {}, .decline_code = "invalid_token", .decline_message = "the token is not known"};
  const std::string_view outcome = token.substr(0, token.find('.'));
  for (const Behaviour& behaviour : kBehaviours) {
    if (behaviour.token == outcome) return behaviour;
  }
  return kUnknown;
}

}  // namespace shop::provider
