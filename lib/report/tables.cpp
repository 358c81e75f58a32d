#include "report/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace lra::report {
namespace {

constexpr double megabyte = 1e6;

template <class T>
Cell number(const std::optional<T>& value, const char* format) {
  if (!value) return {};
  return {fmt::format(fmt::runtime(format), *value), *value};
}

Cell text(const std::string& value) { return {value, value.empty() ? Json() : Json(value)}; }

Cell megabytes(const std::optional<double>& bytes) {
  if (!bytes) return {};
  const double value = *bytes / megabyte;
  return {fmt::format("{:.{}f}", value, value < 10 ? 2 : value < 100 ? 1 : 0), std::llround(*bytes)};
}

Cell rate(const std::optional<double>& value) { return value ? Cell{four_digits(*value), *value} : Cell{}; }

/// A status, and for all but `ok` its reason.
Cell status_cell(const std::string& status, const std::string& message) {
  return {message.empty() ? status : status + ": " + message, status};
}

/// What a reader must know before the number: the reason it isn't there, or that it is one of chance.
Cell score_cell(const ScoreRow& row) {
  if (!row.test) return {row.status == "ok" ? "–" : row.status, Json(), Mark::none, true, row.message};
  Cell cell{fmt::format("{:.2f}", row.test->mean), row.test->mean, row.mark, row.at_chance, {}};
  if (!row.test->error_kind.empty()) cell.text += fmt::format(" ± {:.2f}", row.test->error);
  cell.hover =
      fmt::format("n = {}{}{}", row.test->n, row.test->error_kind.empty() ? "" : "; ±: " + row.test->error_kind,
                  row.at_chance ? "; no better than chance or the majority class" : "");
  return cell;
}

/// The first and the second of rows sorted fastest first, where each leads the next by more than both errors. `none`
/// mixes nothing and wins nothing; behind a speed that is not to be trusted nobody wins.
Mark speed_mark(const std::vector<SpeedRow>& rows, const SpeedRow& row) {
  std::vector<const SpeedRow*> rivals;
  for (const SpeedRow& rival : rows) {
    if (rival.examples_per_second && rival.mixer != "none") rivals.push_back(&rival);
  }
  for (std::size_t i = 0; i < 2 && i + 1 < rivals.size(); ++i) {
    const Summary &a = *rivals[i]->examples_per_second, &b = *rivals[i + 1]->examples_per_second;
    if (!rivals[i]->disturbed.empty() || a.mean - b.mean <= a.error + b.error) return Mark::none;
    if (rivals[i] == &row) return i == 0 ? Mark::best : Mark::second;
  }
  return Mark::none;
}

/// Bytes are counted, not timed: one record knows no error. Where several records of a row differ, a difference within
/// theirs is none.
Mark memory_mark(const std::vector<SpeedRow>& rows, const SpeedRow& row) {
  std::vector<const SpeedRow*> rivals;
  for (const SpeedRow& rival : rows) {
    if (rival.peak_tensor_bytes && rival.mixer != "none") rivals.push_back(&rival);
  }
  std::stable_sort(rivals.begin(), rivals.end(),
                   [](const SpeedRow* a, const SpeedRow* b) { return *a->peak_tensor_bytes < *b->peak_tensor_bytes; });
  std::size_t first = 0;
  for (const Mark win : {Mark::best, Mark::second}) {
    if (first >= rivals.size()) return Mark::none;
    const auto level = [&](const SpeedRow* rival) {
      return *rival->peak_tensor_bytes - *rivals[first]->peak_tensor_bytes <=
             std::max(rival->peak_tensor_spread, rivals[first]->peak_tensor_spread);
    };
    const auto end = static_cast<std::size_t>(
        std::find_if_not(rivals.begin() + static_cast<std::ptrdiff_t>(first), rivals.end(), level) - rivals.begin());
    const bool among = std::find(rivals.begin() + static_cast<std::ptrdiff_t>(first),
                                 rivals.begin() + static_cast<std::ptrdiff_t>(end),
                                 &row) != rivals.begin() + static_cast<std::ptrdiff_t>(end);
    if (end - first > 1) return among && win == Mark::best ? Mark::tied : Mark::none;
    if (among) return win;
    first = end;
  }
  return Mark::none;
}

/// The number with its mark where it is not to be trusted.
Cell speed_cell(const SpeedRow& row) {
  Cell cell = rate(row.examples_per_second ? std::optional(row.examples_per_second->mean) : std::nullopt);
  if (!cell.text.empty() && !row.disturbed.empty()) cell.text += " †";
  return cell;
}

}  // namespace

std::string four_digits(double value) {
  const int before = value <= 0 ? 1 : static_cast<int>(std::floor(std::log10(value))) + 1;
  return fmt::format("{:.{}f}", value, std::clamp(4 - before, 0, 4));
}

std::vector<Table> score_tables(const std::vector<ScoreGroup>& groups) {
  std::vector<Table> tables;
  for (const auto& columns : side_by_side(groups)) {
    Table table;
    table.name = tables.empty() ? "scores" : fmt::format("scores_{}", tables.size() + 1);
    const ScoreGroup& first = *columns.front();
    table.title = fmt::format("Test accuracy in percent, {}profile {}, {}",
                              first.suites.empty() ? "" : "suite " + first.suites + ", ", first.profile, first.host);
    table.columns = {{"model", "Mechanism", false}, {"variant", "", false}};
    std::map<std::string, std::vector<const ScoreRow*>> rows;  // label and variant; one place for each column
    std::vector<std::string> order;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      table.columns.push_back({columns[i]->slug, columns[i]->name});
      for (const ScoreRow& row : columns[i]->rows) {
        auto& places = rows[row.label + "\n" + row.variant];
        if (places.empty()) {
          places.resize(columns.size());
          order.push_back(row.label + "\n" + row.variant);
        }
        if (places[i] == nullptr || row.test) places[i] = &row;
      }
    }
    for (const auto& column : {Column{"runs", "Runs"}, Column{"parameters", "Parameters"},
                               Column{"training_minutes", "Training time (min)"}})
      table.columns.push_back(column);
    TableSection section{"", {}, {}, {}};
    std::set<std::string> warnings;
    for (const ScoreGroup* column : columns) {
      for (const std::string& warning : column->warnings) warnings.insert(column->name + ": " + warning);
    }
    section.warnings.assign(warnings.begin(), warnings.end());
    for (const std::string& key : order) {
      const auto& places = rows.at(key);
      const auto one = *std::find_if(places.begin(), places.end(), [](const ScoreRow* row) { return row != nullptr; });
      std::vector<Cell> cells = {text(one->label), text(one->variant)};
      std::set<std::int64_t> runs, parameters;
      double seconds = 0;
      for (std::size_t i = 0; i < places.size(); ++i) {
        const ScoreRow* row = places[i];
        cells.push_back(row == nullptr ? Cell{} : score_cell(*row));
        if (row == nullptr) continue;
        for (const ScoreRow& other : columns[i]->rows) {  // its seeds that ended otherwise
          if (&other == row || other.label + "\n" + other.variant != key) continue;
          cells.back().text += fmt::format(" ({} more {})", other.seeds.size(), other.status);
        }
        if (row->test && !row->records.empty()) runs.insert(row->test->n);
        if (row->parameters && !row->records.empty()) parameters.insert(*row->parameters);
        if (!row->records.empty()) seconds += row->wall_seconds.value_or(0);
      }
      const auto range = [](const std::set<std::int64_t>& values) {
        if (values.empty()) return Cell{};
        return Cell{values.size() == 1 ? fmt::format("{}", *values.begin())
                                       : fmt::format("{}–{}", *values.begin(), *values.rbegin()),
                    *values.rbegin()};
      };
      cells.push_back(range(runs));
      cells.push_back(range(parameters));
      cells.push_back(seconds > 0 ? Cell{fmt::format("{:.1f}", seconds / 60), seconds / 60} : Cell{});
      section.rows.push_back(cells);
    }
    for (const auto& [name, title] :
         {std::pair{"chance", "chance"}, {"majority", "majority class"}, {"root_operator", "root operator alone"}}) {
      std::vector<Cell> cells = {Cell{fmt::format("reference: {}", title), name, Mark::none, true, {}},
                                 Cell{"reference_level", "reference_level"}};
      bool any = false;
      for (const ScoreGroup* column : columns) {
        const auto level = std::find_if(column->reference_levels.begin(), column->reference_levels.end(),
                                        [&name = name](const auto& known) { return known.first == name; });
        any = any || level != column->reference_levels.end();
        cells.push_back(level == column->reference_levels.end()
                            ? Cell{}
                            : Cell{fmt::format("{:.2f}", level->second), level->second, Mark::none, true,
                                   "what one gets without looking"});
      }
      cells.resize(table.columns.size());
      if (any) section.rows.push_back(cells);
    }
    section.notes = {
        "Mean ± standard deviation over seeds; with one run ± the binomial standard error of the test set, which says "
        "nothing about other seeds. Best in bold, second "
        "best underlined, where they lead by more than two standard errors of the difference; ≈: level at the top. "
        "Grey: failed, or no better than chance. Training "
        "time: wall time of one run with its evaluations, summed over the tasks; of a resumed run, the last part "
        "only."};
    table.sections.push_back(section);
    tables.push_back(table);
  }
  return tables;
}

std::vector<Table> length_tables(const std::vector<SpeedGroup>& groups) {
  std::map<std::string, std::vector<const SpeedGroup*>> by_setting;
  for (const SpeedGroup& group : groups) {
    if (group.source == "bench" && group.length > 0) by_setting[group.setting].push_back(&group);
  }
  std::vector<Table> tables;
  for (auto& [setting, lengths] : by_setting) {
    for (const bool speed : {true, false}) {
      Table table;
      const std::string ending = by_setting.size() == 1 ? "" : fmt::format("_{}", tables.size() / 2 + 1);
      table.name = (speed ? "speed" : "memory") + ending;
      table.title = fmt::format("{} (× full attention), profile {}, batch {}",
                                speed ? "Training speed, examples/s" : "Peak tensor memory, MB",
                                lengths.front()->profile, lengths.front()->batch_size);
      table.columns = {{"model", "Mechanism", false}, {"variant", "", false}};
      std::set<std::string> warnings;
      for (const SpeedGroup* group : lengths) warnings.insert(group->warnings.begin(), group->warnings.end());
      TableSection section{lengths.front()->condition, {}, {warnings.begin(), warnings.end()}, {}};
      std::vector<std::string> order;
      std::map<std::string, std::vector<Cell>> rows;
      for (std::size_t i = 0; i < lengths.size(); ++i) {
        table.columns.push_back(
            {fmt::format("{}_{}", speed ? "examples_per_second" : "peak_tensor_bytes", lengths[i]->length),
             fmt::format("{}", lengths[i]->length)});
        table.columns.push_back({fmt::format("relative_{}_{}", speed ? "speed" : "memory", lengths[i]->length), ""});
        for (const SpeedRow& row : lengths[i]->rows) {
          auto& cells = rows[row.label + "\n" + row.variant];
          if (cells.empty()) {
            cells = {text(row.label), text(row.variant)};
            cells.resize(2 + 2 * lengths.size());
            order.push_back(row.label + "\n" + row.variant);
          }
          Cell& cell = cells[2 + 2 * i];
          const auto& relative = speed ? row.relative_speed : row.relative_memory;
          const bool measured = speed ? row.examples_per_second.has_value() : row.peak_tensor_bytes.has_value();
          if (!measured) {
            if (cell.text.empty())
              cell = {row.status, Json(), Mark::none, true, row.message};  // not in place of a run that ended well
            continue;
          }
          cell = speed ? speed_cell(row) : megabytes(row.peak_tensor_bytes);
          cell.mark = speed ? speed_mark(lengths[i]->rows, row) : memory_mark(lengths[i]->rows, row);
          if (speed)
            cell.hover = fmt::format("± {} ({}), n = {}", four_digits(row.examples_per_second->error),
                                     row.examples_per_second->error_kind, row.n) +
                         (row.disturbed.empty() ? "" : "; not to be trusted: " + row.disturbed);
          if (relative)
            cell.text += fmt::format(" ({}×)", *relative < 0.1  ? fmt::format("{:.3f}", *relative)
                                               : *relative < 10 ? fmt::format("{:.2f}", *relative)
                                                                : fmt::format("{:.1f}", *relative));
          cells[2 + 2 * i + 1] = relative ? Cell{"", *relative} : Cell{};
        }
      }
      for (const std::string& key : order) section.rows.push_back(rows.at(key));
      // Best first at the longest length; what was not measured there comes last.
      std::stable_sort(section.rows.begin(), section.rows.end(), [&](const auto& a, const auto& b) {
        const Json &x = a[a.size() - 2].value, &y = b[b.size() - 2].value;
        if (x.is_null() || y.is_null()) return !x.is_null() && y.is_null();
        return speed ? x.template get<double>() > y.template get<double>()
                     : x.template get<double>() < y.template get<double>();
      });
      section.notes = {
          speed ? "Medians of training steps on sequences of exactly these lengths; in brackets, how many times as "
                  "fast as materialised full attention (softmax). Bold: "
                  "fastest, underlined: second (no mixing aside), where the lead is more than both interquartile "
                  "ranges. †: not to be trusted, because other programs took part of the processor or the "
                  "steps' times vary by more than a quarter of their median."
                : "The most bytes held by tensors during a training step above what was there before the model; in "
                  "brackets, divided by that of materialised full "
                  "attention. Bold: smallest, underlined: second (no mixing aside); where several records of one "
                  "mechanism differ, "
                  "differences within theirs are none (≈). 1 MB = 1,000,000 bytes."};
      table.sections.push_back(section);
      tables.push_back(table);
    }
  }
  return tables;
}

std::vector<Table> growth_tables(const std::vector<GrowthSet>& sets) {
  const auto law = [](const std::optional<PowerLaw>& fit) {
    if (!fit)
      return Cell{"–", Json(), Mark::none, true, "too few lengths, or not above what does not depend on the length"};
    return Cell{fmt::format("{:.2f} [{:.2f}, {:.2f}]", fit->exponent, fit->low, fit->high), fit->exponent, Mark::none,
                false,
                fmt::format("{} lengths from {} to {}{}", fit->n, fit->first, fit->last,
                            fit->subtracted ? fmt::format("; subtracted: {:.4g}", fit->constant)
                                            : "; nothing subtracted: no length of 64 tokens or fewer was measured")};
  };
  const auto limit = [](const std::optional<double>& exponent) {
    return exponent ? Cell{fmt::format("{:g}", *exponent), *exponent} : Cell{};
  };
  const auto from = [](const std::optional<Crossing>& cross) {
    if (!cross) return Cell{};
    if (cross->kind == Crossing::Kind::always)
      return Cell{fmt::format("≤ {}", cross->first), cross->first, Mark::none, false, "at every length measured"};
    if (cross->kind == Crossing::Kind::never)
      return Cell{fmt::format("> {}", cross->last), Json(), Mark::none, true, "not at the longest length measured"};
    return Cell{fmt::format("{:.0f}", cross->length), cross->length, Mark::none, false,
                "interpolated between measured lengths"};
  };
  std::vector<Table> tables;
  for (const GrowthSet& set : sets) {
    Table table;
    table.name = tables.empty() ? "growth" : fmt::format("growth_{}", tables.size() + 1);
    table.title = "Exponents, and from which length on a mechanism pays";
    table.columns = {{"model", "Mechanism", false},
                     {"variant", "", false},
                     {"time_exponent", "Time ∝ N^p, p [95 %]"},
                     {"flops_exponent", "FLOPs, fitted alike"},
                     {"declared_time", "Time as N → ∞"},
                     {"memory_exponent", "Memory ∝ N^p, p [95 %]"},
                     {"declared_memory", "Memory as N → ∞"},
                     {"mixer_time_exponent", "Mixer's own time, p"},
                     {"mixer_memory_exponent", "Mixer's own memory, p"},
                     {"faster_than_softmax", "Faster than softmax from N ="},
                     {"faster_than_flash", "Faster than fused from N ="},
                     {"smaller_than_softmax", "Smaller than softmax from N ="},
                     {"smaller_than_flash", "Smaller than fused from N ="},
                     {"share", "Share of the step at the longest"}};
    TableSection section{set.condition, {}, set.warnings, {}};
    for (const GrowthRow& row : set.rows) {
      const bool at_longest = !row.points.empty() && row.points.back().length == set.lengths.back();
      const double share = at_longest ? row.points.back().share.value_or(-1) : -1;
      section.rows.push_back({text(row.label), text(row.variant), law(row.time), law(row.flops),
                              limit(row.declared_time), law(row.memory), limit(row.declared_memory),
                              law(row.mixer_time), law(row.mixer_memory), from(row.faster_than_softmax),
                              from(row.faster_than_flash), from(row.smaller_than_softmax), from(row.smaller_than_flash),
                              share >= 0 ? Cell{fmt::format("{:.0f} %", 100 * share), share} : Cell{}});
    }
    section.notes = {fmt::format(
        "Fitted over {} lengths from {} to {}. The mixer's own: beyond the model without mixing, where that is over 5 "
        "%. Softmax is full attention with its matrix materialised, fused the same "
        "through a fused kernel (flash).",
        set.fitted.size(), set.fitted.empty() ? 0 : set.fitted.front(), set.fitted.empty() ? 0 : set.fitted.back())};
    table.sections.push_back(section);
    tables.push_back(table);
  }
  return tables;
}

Table accuracy_table(const std::vector<ScoreGroup>& groups) {
  Table table;
  table.name = "accuracy";
  table.title = "Accuracy";
  table.columns = {{"task", "", false},
                   {"profile", "", false},
                   {"host", "", false},
                   {"condition", "", false},
                   {"row", "", false},
                   {"model", "Model", false},
                   {"mixer", "", false},
                   {"variant", "", false},
                   {"status", "Status", false},
                   {"message", "", false},
                   {"test_accuracy_percent", "Test %"},
                   {"error_percent", "±"},
                   {"error_kind", "", false},
                   {"n", "n"},
                   {"seeds", "", false},
                   {"valid_accuracy_percent", "Valid %"},
                   {"train_accuracy_percent", "Train %"},
                   {"test_examples", "Test examples"},
                   {"train_steps", "Steps"},
                   {"parameters", "Parameters"},
                   {"wall_seconds", "Wall time (s)"},
                   {"published_percent", "Published %, other protocol"},
                   {"published_source", "Published as", false},
                   {"incomplete", "", false}};
  for (const ScoreGroup& group : groups) {
    TableSection section{group.title, group.notes, group.warnings, {}};
    section.notes.insert(section.notes.begin(),
                         "±: standard deviation over seeds where n > 1, else the binomial standard error of the test "
                         "set. Accuracies in percent; n: runs.");
    const auto row_start = [&](const char* kind) {
      return std::vector<Cell>{text(group.task), text(group.profile), text(group.host), text(group.condition),
                               text(kind)};
    };
    for (const ScoreRow& row : group.rows) {
      auto cells = row_start("run");
      const bool spread = row.test && !row.test->error_kind.empty();
      const std::int64_t n = row.test ? row.test->n : static_cast<std::int64_t>(row.seeds.size());
      for (const Cell& cell :
           {text(row.label), text(row.mixer), text(row.variant),
            status_cell(row.status, row.at_chance ? "at chance" : row.message), text(row.message),
            row.test ? Cell{fmt::format("{:.2f}", row.test->mean), row.test->mean, row.mark, row.at_chance, {}}
                     : Cell{},
            spread ? Cell{fmt::format("{:.2f}", row.test->error), row.test->error} : Cell{},
            spread ? text(row.test->error_kind) : Cell{}, Cell{fmt::format("{}", n), n},
            Cell{fmt::format("{}", fmt::join(row.seeds, " ")), row.seeds}, number(row.valid, "{:.2f}"),
            number(row.train, "{:.2f}"), number(row.test_examples, "{}"), number(row.train_steps, "{}"),
            number(row.parameters, "{}"), number(row.wall_seconds, "{:.0f}"),
            Cell{row.published_text,
                 row.published                ? Json(*row.published)
                 : row.published_text.empty() ? Json()
                                              : Json(row.published_text),
                 Mark::none, false, row.published_source},
            text(row.published_source), text(group.incomplete)}) {
        cells.push_back(cell);
      }
      section.rows.push_back(cells);
    }
    for (const auto& [name, value] : group.reference_levels) {
      auto cells = row_start("reference_level");
      cells.resize(table.columns.size());
      std::string title = name;
      std::replace(title.begin(), title.end(), '_', ' ');
      cells[5] = {"reference: " + title, name};
      cells[10] = {fmt::format("{:.2f}", value), value};
      section.rows.push_back(cells);
    }
    table.sections.push_back(section);
  }
  return table;
}

Table efficiency_table(const std::vector<SpeedGroup>& groups) {
  Table table;
  table.name = "efficiency";
  table.title = "Speed and memory";
  table.columns = {{"source", "", false},
                   {"task", "", false},
                   {"profile", "", false},
                   {"host", "", false},
                   {"batch_size", ""},
                   {"sequence_length", ""},
                   {"model", "Model", false},
                   {"mixer", "", false},
                   {"variant", "", false},
                   {"status", "Status", false},
                   {"message", "", false},
                   {"train_examples_per_second", "Training examples/s"},
                   {"error", "±"},
                   {"error_kind", "", false},
                   {"relative_speed", "× softmax"},
                   {"train_steps_per_second", "Training steps/s"},
                   {"inference_examples_per_second", "Inference examples/s"},
                   {"peak_tensor_bytes", "Peak tensor memory (MB)"},
                   {"relative_memory", "× softmax"},
                   {"peak_rss_bytes", "Process high-water mark (MB)"},
                   {"n", "n"},
                   {"disturbed", "", false}};
  for (const SpeedGroup& group : groups) {
    TableSection section{group.title,
                         {"±: standard deviation over records where n > 1, else the interquartile range over the timed "
                          "steps. Speeds are medians over steps; †: not to be trusted."},
                         group.warnings,
                         {}};
    for (const SpeedRow& row : group.rows) {
      const auto& speed = row.examples_per_second;
      const bool spread = speed && !speed->error_kind.empty();
      section.rows.push_back({text(group.source),
                              text(group.task_name),
                              text(group.profile),
                              text(group.host),
                              Cell{fmt::format("{}", group.batch_size), group.batch_size},
                              group.length > 0 ? Cell{fmt::format("{}", group.length), group.length} : Cell{},
                              text(row.label),
                              text(row.mixer),
                              text(row.variant),
                              status_cell(row.status, row.message),
                              text(row.message),
                              speed_cell(row),
                              rate(spread ? std::optional(speed->error) : std::nullopt),
                              spread ? text(speed->error_kind) : Cell{},
                              number(row.relative_speed, "{:.2f}"),
                              rate(row.steps_per_second),
                              rate(row.inference_examples_per_second),
                              megabytes(row.peak_tensor_bytes),
                              number(row.relative_memory, "{:.3f}"),
                              megabytes(row.peak_rss_bytes),
                              Cell{fmt::format("{}", row.n), row.n},
                              text(row.disturbed)});
    }
    table.sections.push_back(section);
  }
  return table;
}

}  // namespace lra::report
