'use strict'
// The generator's numbers for one head: mapping networks, truncation, the field's layers folded, the decoder's styles.

const SLOPE = 0.2 // of the leaky ReLU
const FIND = { steps: 200, rate: 0.1, prior: 1e-3 } // as Python's find_latents

// Finite half precision to single
function halfToFloat(half) {
  const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

// Numbers from little-endian bytes; dtype is 'float16' or 'float32'.
function readNumbers(bytes, dtype) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const size = dtype === 'float16' ? 2 : 4, numbers = new Float32Array(bytes.byteLength / size)
  const halves = Float32Array.from({ length: size === 2 ? 2 ** 16 : 0 }, (_, half) => halfToFloat(half))
  for (let i = 0; i < numbers.length; i++) {
    numbers[i] = size === 2 ? halves[view.getUint16(2 * i, true)] : view.getFloat32(4 * i, true)
  }
  return numbers
}

// y = W x + b, W of shape (y, x) row by row.
function linear(weight, bias, x) {
  const y = new Float32Array(bias.length)
  for (let row = 0; row < y.length; row++) {
    let sum = bias[row]
    for (let i = 0, at = row * x.length; i < x.length; i++) sum += weight[at + i] * x[i]
    y[row] = sum
  }
  return y
}

// x = Wᵀ y
function transposed(weight, y, size) {
  const x = new Float32Array(size)
  for (let row = 0; row < y.length; row++) {
    for (let i = 0, at = row * size; i < size; i++) x[i] += weight[at + i] * y[row]
  }
  return x
}

function rectify(x) {
  return x.map((value) => (value < 0 ? SLOPE * value : value))
}

function lerp(a, b, share) {
  return share === 1 ? b : a.map((value, i) => value + share * (b[i] - value))
}

class Model {
  // header: what export.py writes; bytes: all tensors, one after the other.
  constructor(header, bytes) {
    const count = header.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    const wanted = count * (header.dtype === 'float16' ? 2 : 4)
    if (bytes.byteLength !== wanted) {
      throw new Error(`This file holds ${bytes.byteLength} bytes of weights and should hold ${wanted}: it is damaged.`)
    }
    const numbers = readNumbers(bytes, header.dtype)
    this.header = header
    this.tensors = {}
    let start = 0
    for (const { name, shape } of header.tensors) {
      const size = shape.reduce((a, b) => a * b, 1)
      this.tensors[name] = numbers.subarray(start, start += size)
    }
    this.codes = new Map()
    this.latents = new WeakMap()
  }

  // w of a seed, truncated; the last few are kept
  code(seed, psi) {
    return this.kept(`${seed} ${psi}`, () => this.mapping(randn(seed, this.header.latent_size), psi))
  }

  kept(key, make) {
    if (this.codes.size > 64) this.codes.clear()
    if (!this.codes.has(key)) this.codes.set(key, make())
    return this.codes.get(key)
  }

  // z to w: linear layers with leaky ReLU, then lerp(mean, w, psi)
  mapping(z, psi) {
    let w = z
    for (let i = 0; i < this.header.mapping_layers; i++) w = rectify(this.layer(`mapping.${i}`, w))
    return lerp(this.tensors.w_avg, w, psi)
  }

  // A latent whose code is near to w, by Adam
  latent(w) {
    if (this.latents.has(w)) return this.latents.get(w)
    const layers = [...Array(this.header.mapping_layers).keys()].map((i) => `mapping.${i}`), size = w.length
    const [z, mean, square] = [0, 0, 0].map(() => new Float64Array(size))
    for (let step = 0; step < FIND.steps; step++) {
      const outs = []
      for (const layer of layers) outs.push(rectify(this.layer(layer, outs.at(-1) ?? z)))
      let slope = outs.at(-1).map((value, i) => 2 * (value - w[i]))
      for (const layer of [...layers].reverse()) {
        const out = outs.pop(), behind = slope.map((value, i) => (out[i] < 0 ? SLOPE * value : value))
        slope = transposed(this.tensors[`${layer}.weight`], behind, size)
      }
      for (let i = 0; i < size; i++) {
        const value = slope[i] + 2 * FIND.prior * z[i]
        mean[i] += 0.1 * (value - mean[i])
        square[i] += 0.01 * (value ** 2 - square[i])
        const deviation = Math.sqrt(square[i] / (1 - 0.99 ** (step + 1))) + 1e-8
        z[i] -= FIND.rate * (1 - step / FIND.steps) * mean[i] / (1 - 0.9 ** (step + 1)) / deviation
      }
    }
    this.latents.set(w, z)
    return z
  }

  // A code that moves with its latent, whose length stays; edits: [name, amount], ...
  edited(w, edits) {
    if (!edits.length) return w
    const z = this.latent(w), moved = z.slice(), { directions } = this.tensors
    for (const [name, amount] of edits) {
      const start = z.length * this.header.directions.indexOf(name)
      for (let i = 0; i < z.length; i++) moved[i] += amount * directions[start + i]
    }
    const scale = Math.hypot(...z) / Math.hypot(...moved)
    const [before, after] = [z, moved.map((value) => scale * value)].map((latent) => this.mapping(latent, 1))
    return w.map((value, i) => value + after[i] - before[i])
  }

  layer(name, x) {
    return linear(this.tensors[`${name}.weight`], this.tensors[`${name}.bias`], x)
  }

  // w to the decoder's code: unit mean square, linear layers with leaky ReLU times the root of 2, truncation
  style(w, psi) {
    const scale = 1 / Math.sqrt(w.reduce((sum, value) => sum + value * value, 0) / w.length + 1e-8)
    let code = w.map((value) => scale * value)
    for (let i = 0; i < this.header.decoder.mapping_layers; i++) {
      code = rectify(this.layer(`decoder_mapping.${i}`, code)).map((value) => Math.SQRT2 * value)
    }
    return lerp(this.tensors.ws_avg, code, psi)
  }

  // The field of code w as rows of RGBA texels, `field_width` texels to a row; field.glsl says what lies where.
  // The colour layer may take its style from another code.
  fold(w, colourW = w) {
    const { field_width: width, field_depth: depth, point_scale: scale } = this.header, blocks = width / 4
    const offsets = depth * blocks, first = offsets + depth + 1, heads = first + 3, height = heads + 2
    const data = new Float32Array(4 * width * height)
    for (let layer = 0; layer <= depth; layer++) {
      const code = layer === depth ? colourW : w, part = (name) => this.tensors[`field.${layer}.${name}`]
      const weight = part('weight'), bias = part('bias'), inputs = layer === 0 ? 3 : width
      const frequency = linear(part('frequency.weight'), part('frequency.bias'), code)
      const phase = linear(part('phase.weight'), part('phase.bias'), code)
      for (let out = 0; out < width; out++) {
        // gamma * (W h + b) + phi = (gamma W) h + (gamma b + phi)
        const gamma = 15 * frequency[out] + 30, phi = 0.25 * phase[out]
        data[4 * width * (offsets + layer) + out] = gamma * bias[out] + phi
        for (let i = 0; i < inputs; i++) {
          const value = gamma * weight[out * inputs + i]
          if (layer === 0) data[4 * width * (first + i) + out] = scale * value
          else data[4 * (width * ((layer - 1) * blocks + (out >> 2)) + i) + (out & 3)] = value
        }
      }
    }
    const { 'sdf.weight': sdf, 'sdf.bias': sdfBias, 'rgb.weight': rgb, 'rgb.bias': rgbBias } = this.tensors
    for (let i = 0; i < width; i++) {
      data.set([sdf[i], rgb[i], rgb[width + i], rgb[2 * width + i]], 4 * (width * heads + i))
    }
    data.set([sdfBias[0], ...rgbBias], 4 * width * (heads + 1))
    return { data, width, height }
  }

  // The texels of a head: { seed, psi, texture, to, share, edit } as a scene has them.
  head(scene) {
    const w = this.edited(this.blended(scene), readEdits(scene.edit)), { texture, psi } = scene
    return this.fold(w, texture === null ? w : this.code(texture, psi))
  }

  blended({ seed, psi, to, share }) {
    const w = this.code(seed, psi)
    if (to === null || share === 0) return w
    return this.kept(`${seed} ${psi} ${to} ${share}`, () => lerp(w, this.code(to, psi), share))
  }

  // What the decoder needs of a head: the texels of its field, whose colours stay its own, and for every layer of the
  // decoder three rows of numbers, four channels to a texel: styles of its inputs, scales and biases of its outputs.
  // The first layer has the head's style, the others that of the texture's seed, as in Python.
  decoderHead(scene) {
    const { layers } = this.header.decoder, { seed, psi, texture, to, share } = scene
    const styleOf = (number) => this.style(this.code(number, psi), psi), own = styleOf(seed)
    const w = this.blended(scene), edited = this.edited(w, readEdits(scene.edit))
    const [before, after] = [w, edited].map((code) => this.style(code, 1))
    const change = (style) => style.map((value, i) => value + after[i] - before[i])
    const first = change(to !== null && share > 0 ? lerp(own, styleOf(to), share) : own)
    const later = texture === null ? first : change(styleOf(texture))
    const width = Math.max(...layers.map(({ inputs, outputs }) => Math.ceil(Math.max(inputs, outputs) / 4)))
    const data = new Float32Array(4 * width * 3 * layers.length)
    layers.forEach(({ kind, inputs, outputs }, n) => {
      const style = this.layer(`decoder.${n}.affine`, n === 0 ? first : later), bias = this.tensors[`decoder.${n}.bias`]
      const isColour = kind === 'colour', energies = !isColour && this.energies(n), at = 4 * width * 3 * n
      const gain = isColour ? 1 : Math.SQRT2 // the leaky ReLU's, with which a positive factor commutes
      data.set(style, at)
      for (let out = 0; out < outputs; out++) {
        let sum = 0
        for (let i = 0; !isColour && i < inputs; i++) sum += style[i] ** 2 * energies[out * inputs + i]
        data[at + 4 * width + out] = isColour ? 1 : gain / Math.sqrt(sum + 1e-8)
        data[at + 8 * width + out] = gain * bias[out]
      }
    })
    return { field: this.fold(edited), data, width, height: 3 * layers.length }
  }

  // Sums of squares over the taps of one of the decoder's kernels, for every output and input
  energies(n) {
    this.squares ??= []
    return this.squares[n] ??= Float32Array.from({ length: this.tensors[`decoder.${n}.weight`].length / 9 }, (_, i) =>
      this.tensors[`decoder.${n}.weight`].subarray(9 * i, 9 * i + 9).reduce((sum, value) => sum + value * value, 0))
  }
}
