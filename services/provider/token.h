// What becomes of a payment, by its token: the outcomes that can be chosen.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace shop::provider {

struct Behaviour {
  std::string_view token;
  std::string_view decline_code = {};     // it is declined, with this code
  std::string_view decline_message = {};  // and these words
  bool late = false;                      // it is decided later
  int webhooks = 0;                       // messages about the decision
  bool drop_first = false;                // the first attempt is neither carried out nor answered
  bool silent = false;                    // it is carried out and not answered
  bool reset = false;                     // it is carried out, and the connection is reset
};

// Of a token; one that is not known is declined. What follows a dot counts for nothing: tok_approve.4711 is
// somebody's own.
const Behaviour& BehaviourOf(std::string_view token);

}  // namespace shop::provider
