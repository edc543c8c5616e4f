'use strict'
// The picture that Python makes: features volume-rendered and decoded by StyleGAN2's layers, each a few draws on the
// graphics card. maps.glsl says how the maps lie.

class Decoder {
  // renderer: whose graphics card and guide it uses
  constructor(renderer, model) {
    Object.assign(this, { renderer, model, gl: renderer.gl, header: model.header, ...model.header.decoder })
    this.restore()
  }

  // Forget what lived on a graphics card that was lost.
  restore() {
    this.maps = this.styles = null
    this.frames = {} // by their number of layers, so that none keeps a layer of a map that is read
  }

  // What keeps this graphics card from decoding; undefined where nothing does.
  complaint() {
    const { gl, layers } = this, most = (needs) => Math.max(...layers.map(needs))
    const side = Math.max(this.size, most(({ inputs }) => 36 * Math.ceil(inputs / 4)))
    const depth = most(({ kind, outputs }) => (kind === 'up' ? 16 : 4) * Math.ceil(outputs / 4))
    const limits = [['MAX_TEXTURE_SIZE', side, 'texels a side'], ['MAX_ARRAY_TEXTURE_LAYERS', depth, 'layers']]
    for (const [name, need, what] of gl.isContextLost() ? [] : limits) {
      const has = gl.getParameter(gl[name])
      if (need > has) return `textures here have at most ${has} ${what}, and it needs ${need}`
    }
  }

  // Make kernels, maps and what draws into them.
  prepare() {
    const { gl, renderer, header } = this
    this.field = renderer.headTexture()
    const blocks = header.field_width / 4
    this.features = { blocks, ...this.zeros(this.resolution, 2, blocks) }
    this.maps = this.layers.map((layer, n) => {
      const { kind, outputs, size, strength } = layer
      const wide = kind === 'up' ? this.map(16 * Math.ceil(outputs / 4), size / 2 + 2) : null // four phases
      return { ...this.map(outputs, size), wide, kernel: this.kernel(n), noise: strength ? this.noise(n) : null }
    })
    const error = gl.getError()
    if (error && !gl.isContextLost()) throw new Error(`the graphics card has no room for its maps (error ${error})`)
  }

  // A map of so many channels and pixels a side.
  map(channels, size) {
    const blocks = Math.ceil(channels / 4)
    return { blocks, ...this.zeros(size / 2, 1, 4 * blocks) }
  }

  zeros(inner, frame, layers) {
    const { gl } = this, side = inner + 2 * frame
    return { side, frame, texture: this.renderer.texture(gl.TEXTURE_2D_ARRAY, gl.RGBA16F, gl.NEAREST, side, side, layers) }
  }

  kernel(n) {
    const { gl } = this, { inputs, outputs } = this.layers[n], weight = this.model.tensors[`decoder.${n}.weight`]
    const taps = weight.length / inputs / outputs
    const width = 4 * taps * Math.ceil(inputs / 4), height = Math.ceil(outputs / 4)
    const data = new Float32Array(4 * width * height)
    for (let out = 0, from = 0; out < outputs; out++) {
      for (let i = 0; i < inputs; i++) {
        const at = 4 * (width * (out >> 2) + 4 * taps * (i >> 2) + (i & 3)) + (out & 3)
        for (let t = 0; t < taps; t++) data[at + 16 * t] = weight[from++]
      }
    }
    const format = this.header.dtype === 'float16' ? gl.RGBA16F : gl.RGBA32F
    return this.renderer.fill(this.renderer.texture(gl.TEXTURE_2D, format, gl.NEAREST, width, height), width, height, data)
  }

  noise(n) {
    const { gl } = this, { size } = this.layers[n]
    const texture = this.renderer.texture(gl.TEXTURE_2D, gl.R32F, gl.NEAREST, size, size)
    return this.renderer.fill(texture, size, size, this.model.tensors[`decoder.${n}.noise`], gl.RED)
  }

  // Take over a head, as Model.decoderHead made it.
  setHead({ field, data, width, height }) {
    const { gl, renderer } = this
    if (!this.maps) this.prepare()
    renderer.fill(this.field, field.width, field.height, field.data)
    this.styles ??= renderer.texture(gl.TEXTURE_2D, gl.RGBA32F, gl.NEAREST, width, height)
    renderer.fill(this.styles, width, height, data)
  }

  // Draw into some layers of a map.
  draw(name, { texture, side, frame }, layers, values) {
    const { gl, renderer } = this
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frames[layers.length] ??= gl.createFramebuffer())
    const places = layers.map((_, i) => gl.COLOR_ATTACHMENT0 + i)
    layers.forEach((layer, i) => gl.framebufferTextureLayer(gl.FRAMEBUFFER, places[i], texture, 0, layer))
    gl.drawBuffers(places)
    gl.viewport(frame, frame, side - 2 * frame, side - 2 * frame)
    renderer.run(name, values)
  }

  // The draws of one picture, one by one; each tells about how many products of four by four numbers it was.
  * passes(view, rows) {
    yield* this.volume(view, rows)
    let inputs = this.features, colour = null
    for (const [n, { kind, strength }] of this.layers.entries()) {
      const map = this.maps[n], texels = (map.side - 2) ** 2, { blocks } = inputs
      const draw = (name, target, block, more) => this.draw(name, target, [0, 1, 2, 3].map((i) => 4 * block + i), {
        inputs: inputs.texture, blocks, block, head: this.styles, row: 3 * n, kernel: map.kernel,
        noise: map.noise || map.kernel, strength: strength * Math.SQRT2, ...more })
      if (kind === 'colour') {
        draw('colour', map, 0, { before: (colour || inputs).texture, hasBefore: colour ? 1 : 0 })
        colour = map
        yield 4 * texels * blocks
        continue
      }
      for (let block = 0; block < map.blocks; block++) {
        for (const phase of kind === 'up' ? [0, 1, 2, 3] : []) {
          draw('spread', map.wide, 4 * block + phase, { block, phase })
          yield [4, 2, 2, 1][phase] * texels * blocks
        }
        if (kind === 'up') draw('smooth', map, block, { inputs: map.wide.texture })
        else draw(n ? 'convolve' : 'convolve PLAIN', map, block)
        yield kind === 'up' ? 32 * texels : 36 * texels * blocks
      }
      inputs = map
    }
  }

  // Features, for some rows and `outputs` blocks at a time; counts: evaluations instead, see volume.glsl.
  * volume(view, rows = this.resolution, counts = false) {
    const { gl, renderer, header, features } = this, { blocks } = features, { outputs } = renderer
    const values = { ...renderer.field(), ...view, weights: this.field, size: this.resolution, samples: this.samples,
      beta: this.beta, isLaplace: this.is_laplace, isCulled: this.is_culled, isOpaque: this.is_opaque, counts }
    for (let start = 0; start < blocks; start += outputs) {
      const layers = Array.from({ length: Math.min(outputs, blocks - start) }, (_, i) => start + i)
      for (let top = 0; top < this.resolution; top += rows) {
        gl.enable(gl.SCISSOR_TEST)
        gl.scissor(2, 2 + top, this.resolution, rows)
        this.draw('volume', features, layers, { ...values, start })
        gl.disable(gl.SCISSOR_TEST)
        yield rows * this.resolution * header.field_depth * blocks ** 2
      }
    }
  }

  // Begin a picture of a view, so many rows of features at a time; renderer.advance goes on with it.
  begin(view, rows) {
    this.renderer.job = { size: this.size, isPicture: true, passes: this.passes(view, rows), products: 0 }
  }

  // Show the last picture on the canvas, in a scene's light.
  show(scene) {
    const { renderer, size } = this, { normals } = renderer.targets[0] || {}
    renderer.onCanvas(size)
    renderer.run('show', { inputs: this.maps[this.maps.length - 1].texture, size, normals, ...lightOf(scene) })
  }
}
