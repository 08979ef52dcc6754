// A neighbour in the guest's machine that keeps a secret (machine/keeps_a_secret.cpp), and tells the guest in
// which frames.
#pragma once

#include "kit/kit.hpp"

namespace kit {

/// What each of the frames is that the neighbour tells of, in the words by which a command line chooses one.
/// The last is granted to the guest at first.
inline constexpr const char* neighbours_frames[] = {
    "neighbours-secret", "neighbours-l1",     "neighbours-l2",          "neighbours-l3",
    "neighbours-l4",     "neighbours-grants", "neighbours-shared-info", "neighbours-loan"};
inline constexpr u64 neighbours_loan = 7;

/// Does the command line name one of these?
inline bool has_neighbour() {
  for (const char* frame : neighbours_frames)
    if (asked_for(frame)) return true;
  return false;
}
/// The frame that the command line names. Waits for the neighbour.
u64 neighbours_frame();

}  // namespace kit
