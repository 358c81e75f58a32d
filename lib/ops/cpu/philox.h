// Random numbers that are a function of a key and a counter, Philox4x32-10 (Salmon et al. 2011, "Parallel random
// numbers: as easy as 1, 2, 3"), for several counters at a time: for the files that are compiled once for each
// instruction set, inside a namespace of their own.

// 64-bit numbers of which the lower halves count: multiplying those is one instruction, which g++ 12 does not find in a
// loop.
#if defined(__AVX512F__)
using Words = __m512i;
// With a mask of all: g++ 12 warns falsely of the plain one (GCC bug 105593).
inline Words multiply(Words a, std::uint32_t b) { return _mm512_maskz_mul_epu32(0xff, a, _mm512_set1_epi64(b)); }
#elif defined(__AVX2__)
using Words = __m256i;
inline Words multiply(Words a, std::uint32_t b) { return _mm256_mul_epu32(a, _mm256_set1_epi64x(b)); }
#elif defined(__SSE2__)
using Words = __m128i;
inline Words multiply(Words a, std::uint32_t b) { return _mm_mul_epu32(a, _mm_set1_epi64x(b)); }
#else
typedef std::uint64_t Words __attribute__((vector_size(16)));
inline Words multiply(Words a, std::uint32_t b) { return (a & 0xffffffff) * std::uint64_t{b}; }
#endif
typedef std::uint64_t Wide __attribute__((vector_size(sizeof(Words))));
constexpr int wide_lanes = sizeof(Words) / 8;

/// (a, b, c, d): the counter's four words of 32 bits in each lane, replaced by four random words in their lower halves.
inline void philox(std::uint64_t seed, Wide& a, Wide& b, Wide& c, Wide& d) {
  auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const Wide product_a = reinterpret_cast<Wide>(multiply(reinterpret_cast<Words>(a), 0xD2511F53));
    const Wide product_c = reinterpret_cast<Wide>(multiply(reinterpret_cast<Words>(c), 0xCD9E8D57));
    a = (product_c >> 32) ^ b ^ key0;
    b = product_c;
    c = (product_a >> 32) ^ d ^ key1;
    d = product_a;
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
}
