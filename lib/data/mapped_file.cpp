#include "data/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/text.h"

namespace lra {
namespace fs = std::filesystem;

struct MappedFile::Watched {
  std::atomic<std::uintptr_t> begin = 0;  ///< 0: free
  std::atomic<std::size_t> size = 0;
  std::atomic<bool> lost = false;

  /// A run maps three files; a mapping above this number is not watched.
  static std::array<Watched, 64> all;
  static inline struct sigaction before{};
  static inline std::uintptr_t page = 0;

  /// Puts zeros where the file has no bytes any more, and says so. Only calls that are safe in a signal handler (mmap
  /// is a plain system call).
  static void on_bus_error(int signal, siginfo_t* info, void*) {
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (Watched& file : all) {
      const std::uintptr_t begin = file.begin;
      if (begin == 0 || address < begin || address >= begin + file.size) continue;
      const std::uintptr_t hole = address & ~(page - 1);
      void* const at = reinterpret_cast<void*>(hole);
      if (::mmap(at, begin + file.size - hole, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
        break;
      file.lost = true;
      return;
    }
    // None of ours: the access happens again when this returns, and ends as it would have without us.
    ::sigaction(signal, &before, nullptr);
  }

  static void install() {
    static std::once_flag once;
    std::call_once(once, [] {
      page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
      struct sigaction action{};
      action.sa_sigaction = on_bus_error;
      action.sa_flags = SA_SIGINFO;
      ::sigemptyset(&action.sa_mask);
      ::sigaction(SIGBUS, &action, &before);
    });
  }

  static Watched* add(const void* data, std::size_t bytes) {
    install();
    static std::mutex mutex;
    const std::lock_guard guard(mutex);
    for (Watched& file : all) {
      if (file.begin != 0) continue;
      file.lost = false;
      file.size = bytes;
      file.begin = reinterpret_cast<std::uintptr_t>(data);
      return &file;
    }
    return nullptr;
  }
};

std::array<MappedFile::Watched, 64> MappedFile::Watched::all;

namespace {

std::int64_t nanoseconds(const timespec& time) { return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

}  // namespace

MappedFile::MappedFile(fs::path file)
    : file_(std::move(file)), descriptor_(::open(file_.c_str(), O_RDONLY | O_CLOEXEC)) {
  const auto fail = [&](int number) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw Error(fmt::format("{}: cannot be read ({})", printable(file_.string()), std::strerror(number)));
  };
  struct stat facts{};
  if (descriptor_ < 0 || ::fstat(descriptor_, &facts) != 0) fail(errno);
  if (S_ISDIR(facts.st_mode)) fail(EISDIR);
  size_ = static_cast<std::size_t>(facts.st_size);
  modified_ = nanoseconds(facts.st_mtim);
  if (size_ == 0) return;
  void* const mapping = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (mapping == MAP_FAILED) fail(errno);
  data_ = static_cast<const char*>(mapping);
  watched_ = Watched::add(data_, size_);
}

MappedFile::~MappedFile() {
  if (watched_ != nullptr) watched_->begin = 0;
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
  ::close(descriptor_);
}

void MappedFile::check() const {
  struct stat now{};
  const bool same = ::fstat(descriptor_, &now) == 0 && static_cast<std::size_t>(now.st_size) == size_ &&
                    nanoseconds(now.st_mtim) == modified_;
  if (same && (watched_ == nullptr || !watched_->lost)) return;
  throw DataLost(fmt::format("{}: was changed while it was read (it had {} bytes, now it has {})",
                             printable(file_.string()), size_, now.st_size),
                 "prepare the data again, and leave them alone while a run uses them");
}

}  // namespace lra
