#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "core/data_files.h"
#include "core/json_file.h"
#include "data/cifar10.h"
#include "data/find_folder.h"
#include "data/packed.h"
#include "data/random.h"
#include "data/reference_levels.h"
#include "data/task.h"

namespace fs = std::filesystem;
using namespace lra;

namespace {

/// The task's options at their defaults, with `given` over them.
TaskConfig config_of(const std::string& task, const fs::path& data_dir, std::int64_t seq_len,
                     const Json& given = Json::object()) {
  TaskConfig config;
  config.task = task;
  config.data_dir = data_dir.string();
  config.seq_len = seq_len;
  config.vocab_size = 257;
  config.num_classes = 10;
  LayeredJson layers;
  layers.merge({{"task_options", given}}, "the test");
  config.task_options = task_registry().at(task).resolve(layers, "/task_options");
  return config;
}

struct Prepared {
  Prepared(const std::string& name, const fs::path& from, const Json& generator = Json::object())
      : folder("task_" + name), task(task_registry().at(name).make()) {
    manifest =
        task->prepare({.data_dir = folder.path.string(), .from = from.string(), .threads = 1, .generator = generator});
  }
  TestFolder folder;
  std::unique_ptr<Task> task;
  Json manifest;
};

/// Labels and tokens of all examples of a split, whatever their order.
using Contents = std::multiset<std::pair<std::int32_t, std::vector<std::int32_t>>>;

Contents tokens_of(const Dataset& data) {
  Contents all;
  for (std::size_t i = 0; i < data.size(); ++i) all.emplace(data.get(i).label, data.get(i).tokens);
  return all;
}

bool contains(const Contents& all, std::int32_t label, const std::vector<std::int32_t>& tokens) {
  return all.contains({label, tokens});
}

std::vector<std::int32_t> bytes_plus_one(std::string_view text) {
  std::vector<std::int32_t> tokens;
  for (const char byte : text) tokens.push_back(static_cast<unsigned char>(byte) + 1);
  return tokens;
}

}  // namespace

TEST_CASE("Text: bytes + 1 of the first seq_len bytes; valid is test, or a tenth of train", "[tasks]") {
  const Prepared text("text", fixtures / "imdb");
  const auto open = [&](Split split, std::int64_t seq_len, const Json& options = Json::object()) {
    return text.task->open(split, config_of("text", text.folder.path, seq_len, options));
  };
  const auto train = tokens_of(*open(Split::train, 1000));
  CHECK(train.size() == 6);
  CHECK(contains(train, 0, {67, 98, 101, 47}));  // "Bad."
  CHECK(contains(train, 1, bytes_plus_one("Am\xc3\xa9lie is a delight \xe2\x80\x94 see it!")));
  CHECK(contains(train, 1, std::vector<std::int32_t>(1000, 'x' + 1)));
  CHECK(contains(tokens_of(*open(Split::train, 3)), 0, {67, 98, 101}));
  CHECK(tokens_of(*open(Split::valid, 1000)) == tokens_of(*open(Split::test, 1000)));
  CHECK(text.manifest.at("files").contains("valid") == false);
  CHECK(text.manifest.at("statistics").at("train").at("classes") == Json({3, 3}));
  CHECK(text.manifest.at("statistics").at("train").at("truncated") == Json({{"seq_len", 1000}, {"share", 1.0 / 6}}));
  CHECK(text.task->verify(text.folder.path).at("examples") == Json({{"train", 6}, {"test", 4}}));

  // 40 reviews: a tenth of them held out, the same for every limit, none twice.
  const TestFolder many("many_reviews");
  for (const char* part : {"train/neg", "train/pos", "test/neg", "test/pos"}) {
    for (int i = 0; i < 20; ++i)
      write_file_atomically(many.path / part / (std::to_string(i) + "_1.txt"),
                            std::string(part) + " " + std::to_string(i));
  }
  const Prepared large("text", many.path);
  const Json from_train = {{"valid", "train"}};
  const auto split = [&](Split which) {
    return tokens_of(*large.task->open(which, config_of("text", large.folder.path, 1000, from_train)));
  };
  auto valid = split(Split::valid);
  const auto rest = split(Split::train);
  CHECK(valid.size() == 4);
  CHECK(rest.size() == 36);
  CHECK(split(Split::test).size() == 40);
  valid.insert(rest.begin(), rest.end());
  CHECK(valid == tokens_of(*large.task->open(Split::train, config_of("text", large.folder.path, 1000))));
  TaskConfig few = config_of("text", large.folder.path, 1000, from_train);
  few.limit = 3;
  const auto three = tokens_of(*large.task->open(Split::valid, few));
  CHECK(three.size() == 3);
  for (const auto& [label, tokens] : three) CHECK(contains(split(Split::valid), label, tokens));
}

TEST_CASE("Retrieval: two documents, one after the other; an empty one is one padding token", "[tasks]") {
  const Prepared aan("retrieval", fixtures / "aan");
  const TestFolder archive("aan_archive");
  REQUIRE(std::system(("tar -czf " + (archive.path / "lra_release.gz").string() + " -C " + fixtures.string() +
                       " --transform 's,^aan,lra_release/tsv_data,' aan")
                          .c_str()) == 0);
  const Prepared unpacked("retrieval", archive.path / "lra_release.gz");
  CHECK(unpacked.manifest.at("source").at("archive") == "lra_release.gz");
  CHECK(unpacked.manifest.at("files") == aan.manifest.at("files"));
  CHECK_FALSE(fs::exists(unpacked.folder.path / "retrieval/unpacked"));

  const auto data = aan.task->open(Split::train, config_of("retrieval", aan.folder.path, 4000));
  bool quoted = false, empty = false;
  for (std::size_t i = 0; i < data->size(); ++i) {
    const Example example = data->get(i);
    REQUIRE(example.second > 0);
    const auto second = static_cast<std::ptrdiff_t>(example.second);
    const std::vector<std::int32_t> a(example.tokens.begin(), example.tokens.begin() + second),
        b(example.tokens.begin() + second, example.tokens.end());
    CHECK(static_cast<std::size_t>(data->length(i)) == a.size() + b.size());
    quoted = quoted ||
             (example.label == 1 && a == bytes_plus_one("We parse \"text\" well.") && b == bytes_plus_one("A \"quote"));
    if (example.label == 0 && a == std::vector<std::int32_t>{0} && b == bytes_plus_one("the first text is empty")) {
      empty = true;
      CHECK(aan.task->show(example, false) == "label 0: no citation\nfirst: \nsecond: the first text is empty\n");
    }
    CHECK(a.size() <= 4000);
  }
  CHECK(quoted);
  CHECK(empty);
}

TEST_CASE("Image: grey pixels as ids, the last tenth of train is valid", "[tasks]") {
  const Prepared image("image", fixtures / "cifar10");
  TaskConfig config = config_of("image", image.folder.path, 1024);
  config.vocab_size = 256;
  std::size_t examples = 0;
  for (const Split split : all_splits) {
    const auto data = image.task->open(split, config);
    examples += data->size();
    for (std::size_t i = 0; i < data->size(); ++i) {
      const Example example = data->get(i);
      CHECK(example.tokens.size() == 1024);
      CHECK(std::all_of(example.tokens.begin(), example.tokens.end(),
                        [](auto token) { return token >= 0 && token < 256; }));
    }
  }
  CHECK(image.manifest.at("files").at("train").at("examples") == 9);
  CHECK(image.manifest.at("files").at("valid").at("examples") == 1);
  CHECK(image.manifest.at("files").at("test").at("examples") == 2);
  CHECK(image.task->show(image.task->open(Split::test, config)->get(0), false).size() > 32 * 16);
  // The tenth of the ten training pictures, in the order of the files.
  std::vector<std::pair<std::int32_t, std::vector<std::int32_t>>> records;
  for (int batch = 1; batch <= 5; ++batch) {
    read_cifar10_batch(fixtures / "cifar10/cifar-10-batches-bin" / ("data_batch_" + std::to_string(batch) + ".bin"),
                       [&](std::int32_t label, std::string_view pixels, std::string_view) {
                         auto& tokens = records.emplace_back(label, std::vector<std::int32_t>()).second;
                         for (const char pixel : pixels) tokens.push_back(static_cast<unsigned char>(pixel));
                       });
  }
  REQUIRE(records.size() == 10);
  CHECK(tokens_of(*image.task->open(Split::valid, config)) == Contents{records.back()});
  CHECK(tokens_of(*image.task->open(Split::train, config)) == Contents(records.begin(), records.end() - 1));
}

TEST_CASE("Pathfinder: a seeded split of the official pictures, and generated ones that stand in for them", "[tasks]") {
  const Prepared made("pathfinder_standin", "", {{"train", 24}, {"valid", 6}, {"test", 10}, {"seed", 5}});
  CHECK(made.manifest.at("stand_in_for") == "pathfinder");
  TaskConfig config = config_of("pathfinder_standin", made.folder.path, 1024);
  config.num_classes = 2;
  CHECK(made.task->open(Split::train, config)->size() == 24);
  CHECK(made.task->open(Split::valid, config)->size() == 6);
  CHECK(made.task->open(Split::test, config)->size() == 10);
  CHECK(made.task->data_info(config).at("stand_in_for") == "pathfinder");

  CHECK(made.task->data_info(config).at("generator").at("contour_length") == 14);

  // Its files are in the official form: the reader of the real task takes them and splits them by the seed.
  const fs::path official = made.folder.path / "pathfinder_standin/official";
  const auto train_hash = [&](std::int64_t seed) {
    const Prepared split("pathfinder", official, {{"seed", seed}});
    CHECK(split.manifest.at("files").at("train").at("examples") == 32);
    CHECK(split.manifest.at("files").at("valid").at("examples") == 4);
    CHECK(split.manifest.at("files").at("test").at("examples") == 4);
    TaskConfig own = config;
    own.data_dir = split.folder.path.string();
    Contents all;
    for (const Split part : all_splits) all.merge(tokens_of(*split.task->open(part, own)));
    Contents drawn;
    for (const Split part : all_splits) drawn.merge(tokens_of(*made.task->open(part, config)));
    CHECK(all == drawn);
    return split.manifest.at("files").at("train").at("sha256").get<std::string>();
  };
  const std::string first = train_hash(1);
  CHECK(first == train_hash(1));
  CHECK(first != train_hash(2));

  // An easier version is written under its official name; other tasks know no contours.
  const Prepared easy("pathfinder_standin", "", {{"train", 8}, {"valid", 1}, {"test", 1}, {"contour_length", 6}});
  CHECK(fs::exists(easy.folder.path / "pathfinder_standin/official/pathfinder32/curv_baseline/metadata"));
  CHECK(easy.task->data_info(config_of("pathfinder_standin", easy.folder.path, 1024))
            .at("generator")
            .at("contour_length") == 6);
  const auto text = task_registry().at("text_standin").make();
  CHECK(error_of([&] {
          text->prepare(
              {.data_dir = easy.folder.path.string(), .from = "", .threads = 1, .generator = {{"contour_length", 6}}});
        }).find("/contour_length: unknown key") != std::string::npos);
}

TEST_CASE("Files of another kind, place or time are not taken for the task's data", "[tasks]") {
  // What an interrupted call with more examples left behind.
  const TestFolder left("left");
  write_file_atomically(left.path / "text_standin/official/train/neg/999_1.txt", "a text of another call");
  const auto standin = task_registry().at("text_standin").make();
  const Json sizes = {{"train", 6}, {"valid", 2}, {"test", 2}};
  CHECK(standin->prepare({.data_dir = left.path.string(), .from = "", .threads = 1, .generator = sizes})
            .at("files")
            .at("train")
            .at("examples") == 6);
  write_file_atomically(left.path / "retrieval_standin/manifest.json", "{\"task\": \"text_standin\", \"files\": {}}");
  CHECK(error_of([&] {
          task_registry()
              .at("retrieval_standin")
              .make()
              ->open(Split::train, config_of("retrieval_standin", left.path, 100));
        }).ends_with("expected the data of the task 'retrieval_standin', found those of 'text_standin'"));

  // Pictures of another size.
  PackedWriter writer(left.path / "other.packed", 1);
  writer.add(0, std::string(4096, 'x'));
  writer.finish(0);
  const auto pathfinder = task_registry().at("pathfinder").make();
  CHECK(error_of([&] {
          pathfinder->open_file(left.path / "other.packed", config_of("pathfinder", left.path, 1024));
        }).ends_with("example 0 has 4096 bytes, a picture of the task 'pathfinder' has 1024"));
  CHECK(error_of([&] {
          task_registry()
              .at("retrieval")
              .make()
              ->open_file(left.path / "other.packed", config_of("retrieval", left.path, 1024));
        }).ends_with("has 1 sequence(s) an example, the task 'retrieval' has 2"));

  // The folder that archives are unpacked into is no source.
  const auto text = task_registry().at("text").make();
  const fs::path inside = left.path / "text/unpacked/aclImdb";
  write_file_atomically(inside / "train/neg/0_1.txt", "kept");
  CHECK(error_of([&] {
          text->prepare(
              {.data_dir = left.path.string(), .from = inside.string(), .threads = 1, .generator = Json::object()});
        }).find("this folder is emptied whenever data are prepared") != std::string::npos);
  CHECK(read_file(inside / "train/neg/0_1.txt") == "kept");
  CHECK(error_of([&] {
          text->prepare({.data_dir = left.path.string(),
                         .from = (fixtures / "archive/lra_release.tar").string(),
                         .threads = 1,
                         .generator = Json::object()});
        }).ends_with("lra_release.tar: the archive holds none of the files of this task"));

  // A release with empty pictures: a disk was full.
  const Prepared made("pathfinder_standin", "", {{"train", 16}, {"valid", 2}, {"test", 2}});
  const fs::path official = made.folder.path / "pathfinder_standin/official";
  write_file_atomically(official / "pathfinder32/curv_contour_length_14/imgs/0/sample_3.png", "");
  CHECK(error_of([&] {
          pathfinder->prepare(
              {.data_dir = left.path.string(), .from = official.string(), .threads = 1, .generator = Json::object()});
        }).ends_with("1 of 20 pictures are empty files"));
}

TEST_CASE("Data that are there are used, others refused", "[tasks]") {
  const Prepared text("text", fixtures / "imdb");
  const auto again = [&](const fs::path& from, const Json& generator = Json::object()) {
    return text.task
        ->prepare({.data_dir = text.folder.path.string(), .from = from.string(), .threads = 1, .generator = generator})
        .at("prepared")
        .get<std::string>();
  };
  CHECK(again(fixtures / "imdb") == "already there");
  // The same content, wherever it lies and however it is packed.
  CHECK(again(fixtures / "imdb/aclImdb") == "already there");
  const TestFolder elsewhere("elsewhere");
  const fs::path copy = elsewhere.path / "deep/er";
  fs::create_directories(copy.parent_path());
  fs::copy(fixtures / "imdb", copy, fs::copy_options::recursive);
  CHECK(again(elsewhere.path) == "already there");
  const auto tar = [&](const char* name) {
    REQUIRE(std::system(
                ("tar -czf " + (elsewhere.path / name).string() + " -C " + copy.string() + " aclImdb").c_str()) == 0);
    return elsewhere.path / name;
  };
  const fs::path archive = tar("x.tar.gz");
  CHECK(again(archive) == "already there");
  // Other content: one byte, one file more, one under another name; in an archive too.
  const std::string other = "the data there were made of other files";
  const auto refused = [&](const fs::path& from) {
    return error_of([&] { again(from); }).find(other) != std::string::npos;
  };
  const fs::path review = copy / "aclImdb/train/pos/0_9.txt";
  const std::string content = read_file(review);
  write_file_atomically(review, "X" + content.substr(1));
  CHECK(refused(elsewhere.path));
  CHECK(refused(tar("y.tar.gz")));
  write_file_atomically(review, content);
  CHECK(again(elsewhere.path) == "already there");
  write_file_atomically(copy / "aclImdb/train/pos/77_9.txt", "more");
  CHECK(refused(elsewhere.path));
  fs::rename(copy / "aclImdb/train/pos/77_9.txt", copy / "aclImdb/train/pos/notes.md");  // no review: said, not read
  CHECK(again(elsewhere.path) == "already there");
  fs::rename(review, copy / "aclImdb/train/pos/1_9.txt");
  CHECK(refused(elsewhere.path));
  // What older versions wrote: the place of the source, and names that count from there.
  Json old = read_json(text.folder.path / "text/manifest.json");
  old["request"] = {{"from", "/somewhere/else"}, {"version", old["request"]["version"]}};
  write_json(text.folder.path / "text/manifest.json", old);
  CHECK(again(fixtures / "imdb") == "already there");
  CHECK(error_of([&] { again(fixtures / "imdb", {{"seed", 1}}); }) ==
        "--seed has no effect on official files of the task 'text'");
  CHECK(error_of([&] { again(""); }).find("expected --from FOLDER or --from ARCHIVE") != std::string::npos);
  CHECK(error_of([&] { again(fixtures / "nowhere"); }).find("there is no such folder or archive") != std::string::npos);
  const auto standin = task_registry().at("text_standin").make();
  CHECK(error_of([&] {
          standin->prepare(
              {.data_dir = text.folder.path.string(), .from = "", .threads = 1, .generator = {{"max_depth", 3}}});
        }).find("/max_depth: unknown key") != std::string::npos);

  const TaskConfig config = config_of("text", text.folder.path, 1000);
  const fs::path file = text.folder.path / "text/train.packed";
  const std::string good = read_file(file);
  std::string flipped = good;
  flipped[20] = static_cast<char>(flipped[20] + 1);
  write_file_atomically(file, flipped);
  CHECK(error_of([&] { text.task->verify(text.folder.path); }).find("its SHA-256 is") != std::string::npos);
  // Found where the data are used as well: as a split, as a file, through a link.
  CHECK(error_of([&] { text.task->open(Split::train, config); }).find("its SHA-256 is") != std::string::npos);
  CHECK(error_of([&] { text.task->data_info(config); }).find("its SHA-256 is") != std::string::npos);
  CHECK(error_of([&] { text.task->open_file(file, config); }).find("its SHA-256 is") != std::string::npos);
  fs::create_symlink(file, elsewhere.path / "linked");
  CHECK(error_of([&] { text.task->open_file(elsewhere.path / "linked", config); }).find("its SHA-256 is") !=
        std::string::npos);
  write_file_atomically(file, good.substr(0, good.size() - 1));
  CHECK(error_of([&] { text.task->open(Split::train, config); }).find("bytes, the manifest says") != std::string::npos);
  fs::remove(file);
  CHECK(again(fixtures / "imdb") == "written");
  CHECK(read_file(file) == good);
  CHECK(error_of([&] {
          task_registry().at("image").make()->open(Split::train, config);
        }).find("the data of the task 'image' are not there") != std::string::npos);

  // A file that is named is read whole, whatever the run's limit.
  TaskConfig one = config;
  one.limit = 1;
  CHECK(text.task->open(Split::train, one)->size() == 1);
  CHECK(text.task->open_file(file, one)->size() == 6);

  // The same text in train and in test is a fault.
  const TestFolder twice("twice");
  for (const char* part : {"train/neg", "train/pos", "test/neg", "test/pos"})
    write_file_atomically(twice.path / part / "0_1.txt", part == std::string("test/pos") ? "train/neg" : part);
  const Prepared leaking("text", twice.path);
  CHECK(error_of([&] {
          leaking.task->verify(leaking.folder.path);
        }).find("the same example is in two splits: example ") != std::string::npos);
  write_file_atomically(twice.path / "test/pos/0_1.txt", "test/neg");  // in one split: counted
  const Prepared counted("text", twice.path);
  CHECK(counted.task->verify(counted.folder.path).at("examples_twice") == Json({{"test", 1}}));
}

TEST_CASE("What is not the complete official data says so, however old its manifest", "[tasks]") {
  const Prepared text("text", fixtures / "imdb");
  const std::string difference =
      "train has 6 examples, the official task has 25,000; test has 4 examples, the official task has 25,000";
  CHECK(text.manifest.at("incomplete") == difference);
  CHECK(text.manifest.at("source").at("left_out") ==
        Json({{"unused", {{"files", 1}, {"first", "train/neg/._0_3.txt"}}}}));
  CHECK(text.task->verify(text.folder.path).at("incomplete") == difference);
  Json manifest = read_json(text.folder.path / "text/manifest.json");
  manifest.erase("incomplete");
  write_json(text.folder.path / "text/manifest.json", manifest);
  CHECK(text.task->data_info(config_of("text", text.folder.path, 1000)).at("incomplete") == difference);
  CHECK(Prepared("image", fixtures / "cifar10")
            .manifest.at("incomplete")
            .get<std::string>()
            .starts_with("train has 9 examples, the official task has 45,000"));
  CHECK(Prepared("retrieval", fixtures / "aan")
            .manifest.at("incomplete")
            .get<std::string>()
            .starts_with("train has 6 examples, the official task has 147,086"));
  CHECK_FALSE(Prepared("text_standin", "", {{"train", 6}, {"valid", 2}, {"test", 2}}).manifest.contains("incomplete"));

  const Json sizes = {{"train", 30}, {"valid", 9}, {"test", 2000}, {"min_length", 5}, {"max_length", 2000}};
  const Prepared listops("listops", "", sizes);
  const std::string generated =
      "generated so: train has 30 examples, the official task has 96,000; valid has 9 examples, the official task has "
      "2,000; min_length is 5, the official task has 500";
  CHECK(listops.manifest.at("incomplete") == generated);
  CHECK(listops.task->data_info(config_of("listops", listops.folder.path, 2000)).at("incomplete") == generated);
}

TEST_CASE("What every official archive holds beside the examples is not named, anything else is", "[tasks]") {
  const TestFolder folder("companions");
  const fs::path imdb = folder.path / "aclImdb";
  fs::copy(fixtures / "imdb/aclImdb", imdb, fs::copy_options::recursive);
  fs::remove(imdb / "train/neg/._0_3.txt");
  for (const char* name : {"README", "imdb.vocab", "imdbEr.txt", "train/unsup/0_0.txt", "train/unsupBow.feat",
                           "train/urls_unsup.txt", "test/labeledBow.feat", "test/urls_pos.txt"}) {
    write_file_atomically(imdb / name, "x");
  }
  const std::string archive = (folder.path / "aclImdb_v1.tar.gz").string(),
                    command = "tar -czf " + archive + " -C " + folder.path.string() + " aclImdb";
  REQUIRE(std::system(command.c_str()) == 0);
  CHECK_FALSE(Prepared("text", archive).manifest.at("source").contains("left_out"));
  write_file_atomically(imdb / "train/more.txt", "x");
  REQUIRE(std::system(command.c_str()) == 0);
  CHECK(Prepared("text", archive).manifest.at("source").at("left_out") ==
        Json({{"unused", {{"files", 1}, {"first", "aclImdb/train/more.txt"}}}}));

  CHECK(of_another_release_task("lra_release/lra_release/pathfinder32/curv_baseline/imgs/0/sample_0.png",
                                "listops-1000"));
  CHECK_FALSE(of_another_release_task("lra_release/listops-1000/notes.txt", "listops-1000"));
  CHECK_FALSE(of_another_release_task("lra_release/notes.txt", "listops-1000"));
}

TEST_CASE("ListOps: official files are checked and copied; brackets can be dropped", "[tasks][listops]") {
  const TestFolder official("official_listops");
  const fs::path inner = official.path / "lra_release/lra_release/listops-1000";
  const std::string text =
      "Source\tTarget\r\n( ( ( [MAX 4 ) 7 ) ] )\t7\r\n( ( ( [MIN ( ( ( [SM 9 ) 8 ) ] ) ) 9 ) ] )\t7\r\n";
  const auto write = [&](const fs::path& folder, const std::string& train) {
    write_file_atomically(folder / "basic_train.tsv", train);
    write_file_atomically(folder / "basic_val.tsv", "Source\tTarget\n3\t3\n");
    write_file_atomically(folder / "basic_test.tsv", "Source\tTarget\n4\t4\n");
  };
  write(official.path / "lra_release/listops-1000", "Source\tTarget\n5\t5\n");
  write(inner, text);
  const Prepared listops("listops", official.path);
  CHECK(read_file(listops.folder.path / "listops/basic_train.tsv") == text);
  TaskConfig config = config_of("listops", listops.folder.path, 2000);
  CHECK(listops.task->open(Split::train, config)->get(1).tokens ==
        std::vector<std::int32_t>{11, 14, 10, 9, 15, 10, 15});
  CHECK(listops.task->show(listops.task->open(Split::train, config)->get(1), false) == "MIN(SM(9, 8), 9) = 7\n");
  const TaskConfig dropped = config_of("listops", listops.folder.path, 2000, {{"brackets", "drop"}});
  CHECK(listops.task->open(Split::train, dropped)->get(1).tokens == std::vector<std::int32_t>{11, 14, 10, 9, 10});
  CHECK(listops.task->verify(listops.folder.path).at("examples").at("train") == 2);
  CHECK(error_of([&] {
          config_of("listops", listops.folder.path, 10, {{"bracket", "drop"}});
        }).find("/task_options/bracket: unknown key") != std::string::npos);

  CHECK(listops.manifest.at("incomplete")
            .get<std::string>()
            .starts_with("train has 2 examples, the official task has 96,000"));
  CHECK(listops.task
            ->prepare({.data_dir = listops.folder.path.string(),
                       .from = inner.string(),
                       .threads = 1,
                       .generator = Json::object()})
            .at("prepared") == "already there");
  CHECK(listops.task->open(Split::train, config_of("listops", listops.folder.path, 5))->cut_share() == 0.5);
  CHECK(listops.task->open(Split::train, config_of("listops", listops.folder.path, 5, {{"brackets", "drop"}}))
            ->cut_share() == 0);

  // A flip is found where the data are used, also one that leaves the value as it is.
  const fs::path train_file = listops.folder.path / "listops/basic_train.tsv";
  std::string flipped = text;
  flipped[flipped.find('4')] = '5';
  write_file_atomically(train_file, flipped);
  CHECK(error_of([&] { listops.task->open(Split::train, config); }).find("its SHA-256 is") != std::string::npos);
  CHECK(error_of([&] { listops.task->open_file(train_file, config); }).find("its SHA-256 is") != std::string::npos);
  write_file_atomically(train_file, text);
  TaskConfig one = config;
  one.limit = 1;
  CHECK(listops.task->open_file(train_file, one)->size() == 2);

  // Parentheses, which the encoder never sees.
  const auto verify_error = [&](const std::string& source) {
    write_file_atomically(listops.folder.path / "listops/basic_val.tsv", "Source\tTarget\n3\t3\n" + source + "\t7\n");
    return error_of([&] { listops.task->verify(listops.folder.path); });
  };
  CHECK(verify_error("( ( ( [MAX 4 ) 7 ) ]").find("basic_val.tsv:3: 1 parentheses are opened and not closed") !=
        std::string::npos);
  CHECK(verify_error("( ( [MAX 4 ) 7 ) ) ]")
            .find("basic_val.tsv:3: the parenthesis in column 18 closes none that was opened") != std::string::npos);
  CHECK(verify_error("( ( ( [MAX 4 ) 7 ) )").find("basic_val.tsv:3: ") != std::string::npos);
  write_file_atomically(listops.folder.path / "listops/basic_val.tsv", "Source\tTarget\n3\t3\n");
  // The same expression in two splits.
  write_file_atomically(listops.folder.path / "listops/basic_test.tsv", "Source\tTarget\n( ( ( [MAX 4 ) 7 ) ] )\t7\n");
  CHECK(error_of([&] {
          listops.task->verify(listops.folder.path);
        }).find("basic_test.tsv:2: the same expression as basic_train.tsv:2") != std::string::npos);
}

TEST_CASE("Reference levels: what counts of tokens tell, and no more", "[levels]") {
  // Label 1: "aab", label 0: "abb" and noise; and the same with the order as the only difference.
  const TestFolder folder("levels");
  Random random(1, 0);
  const auto write = [&](const char* name, std::size_t examples, bool counts_tell) {
    PackedWriter writer(folder.path / name, 1);
    for (std::size_t i = 0; i < examples; ++i) {
      const std::int32_t label = random.below(3) == 0;
      std::string text;
      for (int k = 0; k < 30; ++k) text += static_cast<char>('a' + random.below(26));
      writer.add(label, text + (counts_tell ? (label ? "AAAAB" : "ABBBB") : (label ? "AB" : "BA")));
    }
    writer.finish(0);
    return folder.path / name;
  };
  const PackedView view{.seq_len = 0, .first_id = 1, .num_classes = 2, .limit = 0};
  for (const bool counts_tell : {true, false}) {
    const PackedDataset train(write("train", 2000, counts_tell), view), test(write("test", 1000, counts_tell), view);
    const Json levels = reference_levels(train, test, 2, 257);
    CHECK(levels.at("chance") == 0.5);
    CHECK(std::abs(levels.at("majority").get<double>() - 2.0 / 3) < 0.06);
    const auto bag = levels.at("bag_of_tokens").get<double>();
    CHECK((counts_tell ? bag > 0.99 : std::abs(bag - 2.0 / 3) < 0.06));
    CHECK(reference_levels(train, test, 2, 257) == levels);
  }
  int computed = 0;
  const auto compute = [&] { return Json(++computed); };
  CHECK(remembered_levels(folder.path, "one", compute) == 1);
  CHECK(remembered_levels(folder.path, "two", compute) == 2);
  CHECK(remembered_levels(folder.path, "one", compute) == 1);
  write_file_atomically(folder.path / "reference_levels.json", "[1, {");
  CHECK(remembered_levels(folder.path, "one", compute) == 3);
}

TEST_CASE("Statistics of a split are those of its sequences", "[levels]") {
  const TestFolder folder("statistics");
  PackedWriter writer(folder.path / "x", 2);
  writer.add(0, "aaaa", "bb");
  writer.add(1, "a", std::string(25, 'c'));
  writer.finish(0);
  const Json facts = split_statistics(
      PackedDataset(folder.path / "x", {.seq_len = 0, .first_id = 1, .num_classes = 2, .limit = 0}), 2, 4);
  CHECK(facts.at("classes") == Json({1, 1}));
  CHECK(facts.at("length").at("mean") == 8.0);
  CHECK(facts.at("length").at("0%") == 1);
  CHECK(facts.at("length").at("50%") == 2);
  CHECK(facts.at("length").at("100%") == 25);
  CHECK(facts.at("truncated").at("share") == 0.25);
  CHECK(facts.at("token_ids") == 3);
  const auto bin = facts.at("length_histogram").at("bin").get<std::size_t>();
  const auto counts = facts.at("length_histogram").at("counts").get<std::vector<int>>();
  CHECK(bin == 2);
  CHECK(counts == std::vector<int>{1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
}
