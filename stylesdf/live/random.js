'use strict'
// torch's CPU generator and its float32 normal numbers, so that a seed names the same latent here and in Python.

// Mersenne twister MT19937, seeded as torch.manual_seed does with a seed below 2^32.
class Twister {
  constructor(seed) {
    const state = this.state = new Uint32Array(624)
    state[0] = seed
    for (let i = 1; i < 624; i++) {
      const last = state[i - 1] ^ (state[i - 1] >>> 30)
      state[i] = Math.imul(1812433253, last) + i
    }
    this.next = 624
  }

  // 32 random bits
  bits() {
    if (this.next === 624) this.twist()
    let x = this.state[this.next++]
    x ^= x >>> 11
    x ^= (x << 7) & 0x9d2c5680
    x ^= (x << 15) & 0xefc60000
    return (x ^ (x >>> 18)) >>> 0
  }

  twist() {
    const state = this.state
    for (let i = 0; i < 624; i++) {
      const x = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff)
      state[i] = state[(i + 397) % 624] ^ (x >>> 1) ^ (x & 1 ? 0x9908b0df : 0)
    }
    this.next = 0
  }
}

// torch.randn(size, generator=torch.Generator().manual_seed(seed)), size from 16 on
function randn(seed, size) {
  const twister = new Twister(seed), values = new Float32Array(size)
  for (let start = 0; start + 16 <= size; start += 16) sixteenNormals(twister, values, start)
  if (size % 16) {
    for (let i = 0; i < size % 16; i++) twister.bits() // torch draws for the incomplete block, then draws again:
    sixteenNormals(twister, values, size - 16) // the last sixteen
  }
  return values
}

// Blocks of 16 uniform numbers of 24 bits; Box-Muller pairs the first eight with the last eight.
function sixteenNormals(twister, values, start) {
  const round = Math.fround, uniform = Array.from({ length: 16 }, () => (twister.bits() & 0xffffff) / 2 ** 24)
  for (let i = 0; i < 8; i++) {
    const radius = round(Math.sqrt(round(-2 * round(Math.log(1 - uniform[i])))))
    const angle = round(round(2 * Math.PI) * uniform[i + 8])
    values[start + i] = radius * round(Math.cos(angle))
    values[start + i + 8] = radius * round(Math.sin(angle))
  }
}
