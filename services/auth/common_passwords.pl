# Makes common_passwords.cpp of the list that libdata-password-zxcvbn-perl carries, for the build:
#
#   perl common_passwords.pl …/RankedDictionaries/Common.pm >common_passwords.cpp
use strict;
use warnings;
no warnings 'once';  # the list's name stands here once

require $ARGV[0];
my %words;
for my $password (keys %{$Data::Password::zxcvbn::RankedDictionaries::Common::ranked_dictionaries{passwords}}) {
  # Shorter ones are refused for their length.
  $words{lc $password} = 1 if length($password) >= 8 and $password =~ /^[!#-\[\]-~]+$/;
}
die "$ARGV[0] has too few passwords\n" if keys %words < 10_000;

print <<'END';
// Made by common_passwords.pl.
#include "auth/common_passwords.h"

namespace shop::auth {
namespace {

constexpr std::string_view kSorted[] = {
END
print qq{    "$_",\n} for sort keys %words;
print <<'END';
};

}  // namespace

const std::span<const std::string_view> kCommonPasswords = kSorted;

}  // namespace shop::auth
END
