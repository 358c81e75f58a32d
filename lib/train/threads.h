#pragma once

#include "core/config.h"
#include "data/dataset.h"

namespace lra {

/// CPU threads of a run whose sequences have `mean_length` tokens on average: `threads` where it is set. Otherwise a
/// rule, not a timing, so that a run has the same number each time: a thread for each so many FLOPs of a step, but at
/// least one and at most `most_threads()`. Counted is what is done at each token outside the mixer, so that all mixers
/// of a comparison get the same number. A step that is too small for a second thread gains nothing from it, and is many
/// times slower with it where other programs use the cores. Training needs larger steps than bench: several runs side
/// by side, with one thread each, are done sooner than one after the other with several threads.
int chosen_threads(const RunConfig& config, double mean_length);

/// The most threads that the rule chooses: the cores that this process may use, cut by OMP_NUM_THREADS and
/// OMP_THREAD_LIMIT.
int most_threads();

/// Mean number of tokens in a sequence; an example of Retrieval has two.
double mean_sequence_length(const Dataset& dataset, const ModelConfig& model);

// Threads of libgomp that wait for work spin, by default for milliseconds: beside other programs a step then takes many
// times as long. How long they spin changes no result. libgomp reads GOMP_SPINCOUNT when it is loaded, so it is set for
// the next program: long enough for the gaps within a step where no other program computes, and 0 where others have
// used more than half a core since the last call (or the start). Where the user has set GOMP_SPINCOUNT or
// OMP_WAIT_POLICY, nothing is changed.

/// For programs that this one starts.
void bound_spinning_of_children();

/// For this program: starts it again by exec with its own arguments. Returns where it has a bound already, and where
/// exec fails. Call it before anything that exec would lose.
void bound_spinning();

/// Whether this program's threads do not spin because other programs computed when it was started: with several threads
/// it is slower then.
bool does_not_spin();

}  // namespace lra
