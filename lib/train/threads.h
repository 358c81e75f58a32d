#pragma once

#include "core/config.h"
#include "data/dataset.h"

namespace lra {

/// CPU threads of a run whose sequences have `mean_length` tokens on average: `threads` where it is set. Otherwise a
/// rule decides, not a timing, so a run has the same number each time: one thread for each so many FLOPs of a step, at
/// least one and at most `most_threads()`. Only work outside the mixer is counted, so that all mixers of a comparison
/// get the same number. A second thread does not help a small step, and makes it many times slower while other programs
/// use the cores. Training takes a second thread later than bench, because several runs side by side with one thread
/// each finish sooner than one after the other.
int chosen_threads(const RunConfig& config, double mean_length);

/// The most threads that the rule chooses: the cores that this process may use, cut by OMP_NUM_THREADS and
/// OMP_THREAD_LIMIT.
int most_threads();

/// Mean number of tokens in a sequence; an example of Retrieval has two.
double mean_sequence_length(const Dataset& dataset, const ModelConfig& model);

// Waiting threads of libgomp spin, by default for milliseconds. Beside other programs a step then takes many times as
// long. The length of the spinning changes no result. libgomp reads GOMP_SPINCOUNT when it is loaded, so it is set for
// the next program: long enough for the gaps within a step where no other program computes, and 0 where others have
// used more than half a core since the last call (or the start). Where the user has set GOMP_SPINCOUNT or
// OMP_WAIT_POLICY, nothing is changed.

/// For programs that this one starts.
void bound_spinning_of_children();

/// For this program: starts it again by exec with its own arguments. Returns where it has a bound already, and where
/// exec fails. Call it before anything that exec would lose.
void bound_spinning();

/// Whether spinning was turned off because other programs were computing when this one started. With several threads it
/// is slower then.
bool does_not_spin();

}  // namespace lra
