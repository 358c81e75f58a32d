#include "train/memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <mutex>

#include "core/error.h"
#include "core/host_info.h"

namespace lra::memory {
namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t smallest_cached = std::size_t{32} << 10;  // below it malloc's own lists do the same work
constexpr std::size_t classes_per_octave = 8;                   // at most 1/8 of a block is unused
constexpr std::size_t classes_searched =
    3;  // a block up to 3/8 larger than needed serves: lengths vary from batch to batch
constexpr std::size_t cache_floor = std::size_t{64} << 20;

/// In front of every block; as long as the alignment, so that what follows is aligned too.
struct alignas(alignment) Block {
  std::size_t requested;
  std::size_t capacity;  // header included
  std::uint64_t freed_at;
  Block *newer, *older;  // its neighbours in a list of free blocks
};
static_assert(sizeof(Block) == alignment);

/// Free blocks of one size class, in the order in which they were freed. The links are inside the blocks: freeing a
/// tensor allocates nothing.
struct FreeList {
  Block *newest = nullptr, *oldest = nullptr;

  void add(Block* block) {
    block->newer = nullptr;
    block->older = newest;
    (newest == nullptr ? oldest : newest->newer) = block;
    newest = block;
  }
  void remove(Block* block) {
    (block->newer == nullptr ? newest : block->newer->older) = block->older;
    (block->older == nullptr ? oldest : block->older->newer) = block->newer;
  }
};

/// Index of the smallest class that holds `bytes`, and its size: octaves divided into equal parts.
std::size_t class_of(std::size_t bytes) {
  const auto octave = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;  // 2^octave < bytes <= 2^(octave+1)
  const std::size_t part = (std::size_t{1} << octave) / classes_per_octave;
  return octave * classes_per_octave + (bytes - (std::size_t{1} << octave) + part - 1) / part - 1;
}

std::size_t class_size(std::size_t index) {
  const std::size_t start = std::size_t{1} << (index / classes_per_octave);
  return start + start / classes_per_octave * (index % classes_per_octave + 1);
}

/// Large blocks that are kept for reuse are mapped; without reuse all is left to malloc, as in LibTorch's own
/// allocator.
bool is_mapped(std::size_t capacity, bool caching) { return caching && capacity >= huge_page; }

/// Fresh memory of `capacity` bytes, or nullptr. Large blocks start on a huge page's boundary, which is what lets them
/// use huge pages.
void* system_allocate(std::size_t capacity, bool caching) {
  if (!is_mapped(capacity, caching)) return std::aligned_alloc(alignment, capacity);
  const std::size_t span = capacity + huge_page;
  void* mapped = ::mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const start = static_cast<char*>(mapped);
  const std::size_t skipped = (huge_page - std::bit_cast<std::uintptr_t>(start) % huge_page) % huge_page;
  if (skipped > 0) ::munmap(start, skipped);
  ::munmap(start + skipped + capacity, huge_page - skipped);
  ::madvise(start + skipped, capacity, MADV_HUGEPAGE);
  return start + skipped;
}

void system_free(void* block, std::size_t capacity, bool caching) noexcept {
  if (is_mapped(capacity, caching)) {
    ::munmap(block, capacity);
  } else {
    std::free(block);
  }
}

std::string megabytes(std::size_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6); }

class CountingAllocator final : public c10::Allocator {
 public:
  explicit CountingAllocator(bool caching) : caching_(caching) {}

  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, raw_deleter(), c10::Device(c10::DeviceType::CPU)};
    count(bytes);
    Block* block = take(bytes);
    if (block == nullptr) {
      current_.fetch_sub(bytes);
      TORCH_CHECK_WITH(OutOfMemoryError, false, "a tensor of ", megabytes(bytes),
                       " was asked for and the system has no memory left (tensors hold ", megabytes(current_.load()),
                       ")");
    }
    block->requested = bytes;
    void* data = block + 1;
    return {data, data, raw_deleter(), c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &deallocate; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }

  void release_cached() noexcept {
    const std::lock_guard lock(mutex_);
    while (cached_ > 0) evict_oldest();
  }

  const bool caching_;
  std::atomic<std::size_t> current_{0}, peak_{0}, limit_{0}, cached_{0};

 private:
  static void deallocate(void* data) noexcept;

  void count(std::size_t bytes) {
    const std::size_t limit = limit_.load(std::memory_order_relaxed);
    const std::size_t now = current_.fetch_add(bytes) + bytes;
    if (limit != 0 && now > limit) {
      current_.fetch_sub(bytes);
      release_cached();
      TORCH_CHECK_WITH(OutOfMemoryError, false, "a tensor of ", megabytes(bytes), " was asked for while tensors hold ",
                       megabytes(now - bytes), ", above the memory limit of ", megabytes(limit));
    }
    for (std::size_t peak = peak_.load(); now > peak && !peak_.compare_exchange_weak(peak, now);) {
    }
    for (std::size_t most = most_.load(); now > most && !most_.compare_exchange_weak(most, now);) {
    }
  }

  Block* take(std::size_t bytes) {
    std::size_t capacity = (bytes + sizeof(Block) + alignment - 1) / alignment * alignment;
    if (caching_ && capacity >= smallest_cached) {
      const std::size_t wanted = class_of(capacity);
      capacity = class_size(wanted);
      const std::lock_guard lock(mutex_);
      for (std::size_t index = wanted; index < wanted + classes_searched; ++index) {
        Block* block = free_[index].newest;  // the warmest
        if (block == nullptr) continue;
        free_[index].remove(block);
        cached_ -= block->capacity;
        return block;
      }
    }
    if (above_limit()) {
      const std::lock_guard lock(mutex_);
      while (cached_ > 0 && above_limit()) evict_oldest();
    }
    void* fresh = system_allocate(capacity, caching_);
    if (fresh == nullptr && cached_ > 0) {
      release_cached();
      fresh = system_allocate(capacity, caching_);
    }
    if (fresh != nullptr) static_cast<Block*>(fresh)->capacity = capacity;
    return static_cast<Block*>(fresh);
  }

  /// Are tensors and cache together above the limit?
  bool above_limit() const noexcept {
    const std::size_t limit = limit_.load(std::memory_order_relaxed);
    return limit != 0 && current_.load() + cached_.load() > limit;
  }

  void give(Block* block) noexcept {
    current_.fetch_sub(block->requested);
    if (!caching_ || block->capacity < smallest_cached) return system_free(block, block->capacity, caching_);
    const std::lock_guard lock(mutex_);
    block->freed_at = ++clock_;
    free_[class_of(block->capacity)].add(block);
    cached_ += block->capacity;
    // Twice a step's worth of tensors: lengths vary, and what the last batch leaves does not all fit the next one.
    while (cached_ > 2 * most_.load() + cache_floor || (cached_ > 0 && above_limit())) evict_oldest();
  }

  void evict_oldest() noexcept {
    FreeList* oldest = nullptr;
    for (auto& list : free_) {
      if (list.oldest != nullptr && (oldest == nullptr || list.oldest->freed_at < oldest->oldest->freed_at))
        oldest = &list;
    }
    Block* block = oldest->oldest;
    oldest->remove(block);
    cached_ -= block->capacity;
    system_free(block, block->capacity, caching_);
  }

  std::atomic<std::size_t> most_{0};                    // like peak_, never reset
  std::mutex mutex_;                                    // guards what follows
  std::array<FreeList, 64 * classes_per_octave> free_;  // by size class
  std::uint64_t clock_ = 0;
};

CountingAllocator* installed = nullptr;  // never destroyed: tensors of static lifetime are freed through it

void CountingAllocator::deallocate(void* data) noexcept {
  if (data != nullptr) installed->give(static_cast<Block*>(data) - 1);
}

}  // namespace

void install() {
  if (installed != nullptr) return;
  const char* choice = std::getenv("LRA_ALLOCATOR");
  const std::string name = choice == nullptr || *choice == '\0' ? "caching" : choice;
  if (name != "caching" && name != "system")
    throw Error(fmt::format("LRA_ALLOCATOR: expected caching or system, found \"{}\"", name));
  installed = new CountingAllocator(name == "caching");
  c10::SetCPUAllocator(installed);
  set_limit(machine_limit());
}

std::int64_t machine_limit() { return usable_machine().memory_bytes / 10 * 9; }

std::string allocator_name() { return installed == nullptr ? "torch" : installed->caching_ ? "caching" : "system"; }

std::int64_t current_bytes() {
  return installed == nullptr ? 0 : static_cast<std::int64_t>(installed->current_.load());
}
std::int64_t peak_bytes() { return installed == nullptr ? 0 : static_cast<std::int64_t>(installed->peak_.load()); }
void reset_peak() {
  if (installed != nullptr) installed->peak_ = installed->current_.load();
}
void set_limit(std::int64_t bytes) {
  install();
  installed->limit_ = static_cast<std::size_t>(bytes);
}
std::int64_t limit() { return installed == nullptr ? 0 : static_cast<std::int64_t>(installed->limit_.load()); }
std::int64_t cached_bytes() { return installed == nullptr ? 0 : static_cast<std::int64_t>(installed->cached_.load()); }
void release_cached() {
  if (installed != nullptr) installed->release_cached();
}

std::int64_t process_peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

}  // namespace lra::memory
