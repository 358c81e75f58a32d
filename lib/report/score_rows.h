#pragma once

#include <string>
#include <vector>

#include "report/compare.h"

namespace lra::report {

/// The row of records of one configuration and status. `trivial_level`: what one gets without reading the sequence,
/// percent.
ScoreRow score_row(const std::vector<const Result*>& records, const std::string& label, double trivial_level);

/// Adds what the papers printed for the row's mixer in this column of data/published/lra.json, where they did.
void set_published(ScoreRow& row, const Json& published, const std::string& column);

/// Sorts, best first, and marks the best and the second best where they lead by more than two standard errors of the
/// difference.
void rank(std::vector<ScoreRow>& rows);

/// What published and own scores beside each other do not say.
std::string protocol_note(const std::string& profile);

/// Gives every group a name and a slug of its own: the task, its suite and limit, then as few of the other qualifiers
/// as it takes.
void name_groups(std::vector<ScoreGroup>& groups);

/// The tasks of Long Range Arena, in the paper's order: those of its averages.
const std::vector<std::string>& arena_tasks();

/// Of the groups of one setting (side_by_side): the average of 5 tasks, and of 6; none where a task is missing or there
/// more than once.
std::vector<ScoreGroup> averages_of(const std::vector<const ScoreGroup*>& groups, const Json& published);

/// A sentence where only a task that is there more than once stands against an average; else empty.
std::string why_no_average(const std::vector<const ScoreGroup*>& groups);

}  // namespace lra::report
