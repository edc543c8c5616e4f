'use strict'
// WebGL2: the head's weights and guide as textures, rays traced band by band, and the picture made of what they found.

const EVALUATIONS = 12 // of the field along one ray, at most
const PAPER = [244 / 255, 246 / 255, 249 / 255] // behind what is not a picture

const PRECISIONS = ['float', 'int', 'sampler2D', 'sampler3D', 'sampler2DArray'].map((kind) => `precision highp ${kind};\n`).join('')
const VERTICES = `#version 300 es
void main() { // one triangle over everything
  gl_Position = vec4(vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0, 0.0, 1.0);
}`

// What stands before a shader's own text
const PRELUDES = { guide: 'field', trace: 'field', normals: 'field', volume: 'field', convolve: 'maps', spread: 'maps',
  smooth: 'maps', colour: 'maps', show: 'maps light', shade: 'light' }

class Renderer {
  // shaders: the text of field.glsl, guide.glsl, ... by name
  constructor(canvas, header, shaders) {
    const gl = canvas.getContext('webgl2', { antialias: false, depth: false, powerPreference: 'high-performance' })
    if (!gl) throw new Error('This browser has no WebGL 2, which draws the head.')
    Object.assign(this, { canvas, gl, header, shaders })
    this.samplers = { [gl.SAMPLER_2D]: gl.TEXTURE_2D, [gl.SAMPLER_3D]: gl.TEXTURE_3D,
      [gl.SAMPLER_2D_ARRAY]: gl.TEXTURE_2D_ARRAY }
    this.restore()
  }

  // Make what lives on the graphics card; also after it was lost.
  restore() {
    const { gl, header } = this
    if (!gl.getExtension('EXT_color_buffer_float') && !gl.isContextLost()) {
      throw new Error('This graphics card cannot draw into floating point numbers, which the head needs.')
    }
    this.programs = {}
    this.guides = {}
    this.outputs = gl.getParameter(gl.MAX_DRAW_BUFFERS) >= 8 ? 8 : 4 // of the volume's shader
    this.targets = [null, null] // what is shown, and what is being drawn
    this.job = null
    this.weights = this.headTexture()
    gl.bindVertexArray(gl.createVertexArray())
  }

  // For the texels that Model.fold makes.
  headTexture() {
    const { gl } = this, { field_depth: depth, field_width: width } = this.header
    return this.texture(gl.TEXTURE_2D, gl.RGBA32F, gl.NEAREST, width, depth * width / 4 + depth + 6)
  }

  texture(kind, format, filter, ...size) {
    const { gl } = this, texture = gl.createTexture()
    gl.bindTexture(kind, texture)
    if (size.length === 3) gl.texStorage3D(kind, 1, format, ...size)
    else gl.texStorage2D(kind, 1, format, ...size)
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(kind, name, filter)
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) {
      gl.texParameteri(kind, name, gl.CLAMP_TO_EDGE)
    }
    return texture
  }

  fill(texture, width, height, data, format = this.gl.RGBA) {
    const { gl } = this
    gl.bindTexture(gl.TEXTURE_2D, texture)
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, format, gl.FLOAT, data)
    return texture
  }

  // A program by its shader's name, compiled when it is first needed.
  program(name) {
    if (this.programs[name]) return this.programs[name]
    const { gl, header } = this, program = gl.createProgram()
    const [file, more = 'WHOLE'] = name.split(' ') // a name may end in a definition
    const text = `#version 300 es\n${PRECISIONS}#define BLOCKS ${header.field_width / 4}\n#define DEPTH ${header.field_depth}
#define OUTPUTS ${this.outputs}\n#define ${more}\n${`${PRELUDES[file]} ${file}`.split(' ').map((part) => this.shaders[part]).join('\n')}`
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTICES], [gl.FRAGMENT_SHADER, text]]) {
      const shader = gl.createShader(kind)
      gl.shaderSource(shader, source)
      gl.compileShader(shader)
      gl.attachShader(program, shader)
      program.log = () => gl.getShaderInfoLog(shader)
    }
    gl.linkProgram(program)
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`This graphics card does not take the shader ${name}: ${program.log()}`)
    }
    const uniforms = {}
    for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
      const { name: uniform, type } = gl.getActiveUniform(program, i)
      uniforms[uniform] = { place: gl.getUniformLocation(program, uniform), type }
    }
    return this.programs[name] = { program, uniforms }
  }

  // Draw with a program: values are numbers, arrays, or textures.
  run(name, values) {
    const { gl } = this, { program, uniforms } = this.program(name)
    gl.useProgram(program)
    let unit = 0
    for (const [uniform, { place, type }] of Object.entries(uniforms)) {
      const value = values[uniform]
      if (this.samplers[type]) {
        gl.activeTexture(gl.TEXTURE0 + unit)
        gl.bindTexture(this.samplers[type], value)
        gl.uniform1i(place, unit++)
      } else if (type === gl.FLOAT_MAT4x3) gl.uniformMatrix4x3fv(place, false, value)
      else if (value.length) gl[`uniform${value.length}${type === gl.INT_VEC2 ? 'i' : 'f'}v`](place, value)
      else gl[type === gl.FLOAT ? 'uniform1f' : 'uniform1i'](place, value) // integers and booleans
    }
    gl.drawArrays(gl.TRIANGLES, 0, 3)
  }

  // Take over a head, as Model.head made it, and measure its guide on a grid of that many samples per side.
  setHead({ data, width, height }, guideSize) {
    this.fill(this.weights, width, height, data)
    this.job = null
    this.guide = this.measureGuide(guideSize, this.measureGuide(guideSize / 2, null))
  }

  field() {
    const { guide, header } = this
    return { weights: this.weights, blocks: header.field_width / 4, radius: header.scene_radius,
      ...guide && { guide: guide.texture, guideSize: guide.size, guideError: guide.error } }
  }

  measureGuide(size, coarse) {
    const { gl, header } = this, spacing = 2 * header.scene_radius / (size - 1)
    const guide = this.guides[size] ??= {
      size, error: header.guide_error * spacing ** 2, frame: gl.createFramebuffer(),
      texture: this.texture(gl.TEXTURE_3D, gl.R16F, gl.LINEAR, size, size, size),
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, guide.frame)
    gl.viewport(0, 0, size, size)
    gl.disable(gl.SCISSOR_TEST)
    for (let slice = 0; slice < size; slice++) {
      gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, guide.texture, 0, slice)
      this.run('guide', {
        ...this.field(), coarse: coarse && coarse.texture, hasCoarse: coarse ? 1 : 0, size, slice,
        coarseSize: coarse ? coarse.size : 2, reach: coarse ? 2.2 * spacing + coarse.error : 0,
      })
    }
    return guide
  }

  // Where rays find the surface, `size` pixels per side, upwards; normals, where wanted, in a second texture.
  target(size) {
    const { gl } = this, frame = gl.createFramebuffer(), normalFrame = gl.createFramebuffer()
    const maps = [gl.RGBA32F, gl.RGBA8, gl.RGBA16F].map((format) =>
      this.texture(gl.TEXTURE_2D, format, format === gl.RGBA16F ? gl.LINEAR : gl.NEAREST, size, size))
    const [places, colours, normals] = maps
    for (const [holder, ...held] of [[frame, places, colours], [normalFrame, normals]]) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, holder)
      const at = held.map((_, i) => gl.COLOR_ATTACHMENT0 + i)
      held.forEach((map, i) => gl.framebufferTexture2D(gl.FRAMEBUFFER, at[i], gl.TEXTURE_2D, map, 0))
      gl.drawBuffers(at)
    }
    const release = () => {
      maps.forEach((map) => gl.deleteTexture(map))
      gl.deleteFramebuffer(frame)
      gl.deleteFramebuffer(normalFrame)
    }
    return { size, frame, normalFrame, places, colours, normals, release }
  }

  // Begin a drawing of `size` pixels per side; view: what viewOf returns.
  begin(size, view, withNormals) {
    const back = this.targets[1]
    if (!back || back.size !== size) {
      back?.release()
      this.targets[1] = this.target(size)
    }
    this.job = { size, view, withNormals, row: 0 }
  }

  // Draw so many rows more, or so many of the decoder's products; returns whether that was all. Then the drawing is what
  // `shade` shows, or the decoder's `show`.
  advance(amount) {
    const { job } = this
    if (!job.isPicture) return this.advanceRows(amount)
    for (const wanted = job.products + amount; job.products < wanted;) {
      const { value, done } = job.passes.next()
      if (done) {
        this.job = null
        return true
      }
      job.products += value
    }
    return false
  }

  advanceRows(rows) {
    const { gl, job, header } = this, { size, view } = job, target = this.targets[1]
    rows = Math.min(Math.ceil(rows), size - job.row)
    gl.viewport(0, 0, size, size)
    gl.enable(gl.SCISSOR_TEST)
    gl.scissor(0, job.row, size, rows)
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame)
    const common = { ...this.field(), ...view, size }
    this.run('trace', { ...common, slope: header.slope, evaluations: EVALUATIONS })
    if (job.withNormals) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, target.normalFrame)
      this.run('normals', { ...common, places: target.places })
    }
    gl.disable(gl.SCISSOR_TEST)
    job.row += rows
    if (job.row < size) return false
    this.targets.reverse()
    this.job = null
    return true
  }

  // Show the last complete drawing on the canvas.
  shade(mode, scene) {
    const { header } = this, shown = this.targets[0], radius = header.scene_radius
    if (!shown) return
    this.onCanvas(shown.size)
    this.run('shade', {
      ...shown, mode: CHOICES.mode.indexOf(mode), depths: [1 - 0.85 * radius, 1 + 0.3 * radius], ...lightOf(scene),
      aside: directionOf({ around: scene.around + 86, above: 6 }), background: header.background, paper: PAPER,
    })
  }

  // Draw next on the canvas, with so many pixels a side.
  onCanvas(size) {
    const { gl, canvas } = this
    if (canvas.width !== size) canvas.width = canvas.height = size
    gl.bindFramebuffer(gl.FRAMEBUFFER, null)
    gl.viewport(0, 0, size, size)
  }

  // Resolves once the card has done what it was given, to the milliseconds that took.
  finished() {
    const { gl } = this, start = performance.now(), fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0)
    gl.flush()
    return new Promise((resolve) => {
      const look = () => {
        if (fence && !gl.isContextLost() && gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED) {
          return setTimeout(look, 1)
        }
        gl.deleteSync(fence)
        resolve(performance.now() - start)
      }
      setTimeout(look, 0)
    })
  }
}

// Unit vector towards a light, from degrees.
function directionOf({ around, above }) {
  const [a, b] = [around, above].map((angle) => angle * Math.PI / 180)
  return [Math.sin(a) * Math.cos(b), Math.sin(b), Math.cos(a) * Math.cos(b)]
}

const lightOf = (scene) => ({ light: directionOf(scene), isMoved: isLightMoved(scene) })

// What the rays need of a scene: right, up, back and origin of the camera on the unit sphere, its focal length, and the
// plane in front of which all is cut away.
function viewOf(scene, header) {
  const [yaw, pitch, roll] = [scene.yaw, scene.pitch, scene.roll].map((angle) => angle * Math.PI / 180)
  const back = [Math.cos(pitch) * Math.sin(yaw), Math.sin(pitch), Math.cos(pitch) * Math.cos(yaw)]
  const right = [Math.cos(yaw), 0, -Math.sin(yaw)]
  const up = [back[1] * right[2] - back[2] * right[1], back[2] * right[0] - back[0] * right[2],
    back[0] * right[1] - back[1] * right[0]]
  const [cos, sin] = [Math.cos(roll), Math.sin(roll)]
  const turned = [right.map((r, i) => cos * r + sin * up[i]), up.map((u, i) => cos * u - sin * right[i])]
  const plane = { front: [0, 0, 1], side: [1, 0, 0], top: [0, 1, 0] }[scene.cut] || [0, 0, 0]
  return {
    camera: new Float32Array([...turned[0], ...turned[1], ...back, ...back]),
    focal: 0.5 / Math.tan(scene.fov * Math.PI / 360),
    perspective: scene.perspective,
    cut: [...plane, scene.cutAt * header.scene_radius],
  }
}
