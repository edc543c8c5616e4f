// The live page's viewer on the stage: draws what the hand does, without the server. `viewer` is its classes.
const FRAME_MS = 25 // what one frame may take while the hand moves
const PROBE_SIZE = 96, PROBES = 4 // pixels per side of the frames that decide whether this browser is fast enough
const SLOWEST_MS = window.slowestLiveFrame ?? 40 // that one may take; software rasterisers need hundreds
const SIZES = [96, 768], GUIDE = { quick: 24, fine: 48, cost: 1500 } // fine below so many nanoseconds per pixel

class LiveStage {
  // canvas: over the stage's picture; say: called with `loading`, then with `ready`, `slow` or `absent`
  constructor(canvas, say) {
    Object.assign(this, { canvas, say, name: null, renderer: null, isLost: false })
    canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault()
      this.isLost = true
    })
    canvas.addEventListener('webglcontextrestored', () => {
      if (this.renderer) this.renderer.restore()
      this.head = null
      this.isLost = false
    })
  }

  // Get ready to draw a scene's head; locate(name) resolves to the address of a model's file, or to nothing.
  async prepare(scene, locate) {
    const { model: name } = scene
    if (this.name !== name) {
      this.name = name
      this.canDraw = false
      this.say('loading')
      let state = 'absent'
      try {
        const address = await locate(name)
        if (address && this.name === name) state = await this.load(address, scene) ? 'ready' : 'slow'
      } catch (error) {
        console.info(`Heads are turned by the server: ${error.message}`)
      }
      if (this.name !== name) return
      this.canDraw = state === 'ready'
      this.say(state)
    } else if (this.draws(scene)) {
      this.setHead(scene)
    }
  }

  draws(scene) {
    return this.canDraw && this.name === scene.model && !scene.head && !this.isLost
  }

  // Take over a model; resolves to whether this browser draws it fast enough.
  async load(address, scene) {
    const answer = await fetch(address, { cache: 'force-cache' }) // its name says what it holds
    if (!answer.ok) throw new Error(`the model's file is not there (${answer.status})`)
    const bytes = new Uint8Array(await answer.arrayBuffer())
    if (this.name !== scene.model) return false // another one was wanted meanwhile
    const start = 4 + new DataView(bytes.buffer).getUint32(0, true)
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, start)))
    if (this.renderer) this.renderer.targets.forEach((target) => target && target.release())
    this.model = new viewer.Model(header, bytes.subarray(start))
    this.renderer = new viewer.Renderer(this.canvas, header, viewer.shaders)
    this.cost = 0
    this.head = null
    while (document.hidden) await new Promise((go) => document.addEventListener('visibilitychange', go, { once: true }))
    let fastest = Infinity
    for (let i = 0; i < PROBES && fastest > SLOWEST_MS; i++) {
      const milliseconds = await this.frame(scene, PROBE_SIZE)
      if (i > 0) fastest = Math.min(fastest, milliseconds) // the first compiles, and a page that opens has much to do
    }
    this.cost = fastest * 1e6 / PROBE_SIZE ** 2
    return fastest <= SLOWEST_MS
  }

  setHead(scene) {
    const { seed, truncation: psi, texture_seed: texture, morph_seed: to, morph_share: share, edits: edit } = scene
    const head = JSON.stringify([seed, psi, texture, to, share, edit])
    if (this.head === head) return
    const size = this.cost > 0 && this.cost < GUIDE.cost ? GUIDE.fine : GUIDE.quick
    this.renderer.setHead(this.model.head({ seed, psi, texture, to, share, edit }), size)
    this.head = head
  }

  // Draw a scene as well as one frame's time allows; resolves when it is there.
  async draw(scene) {
    const { clientWidth } = this.canvas.parentElement, wanted = Math.sqrt(FRAME_MS * 1e6 / this.cost)
    const most = Math.min(SIZES[1], clientWidth * (window.devicePixelRatio || 1))
    const size = 8 * Math.floor(Math.min(Math.max(wanted, SIZES[0]), most) / 8)
    const milliseconds = await this.frame(scene, size)
    this.cost = Math.sqrt(this.cost * milliseconds * 1e6 / size ** 2)
  }

  async frame(scene, size) {
    const { renderer } = this, { header } = this.model, { yaw, pitch, roll, perspective, around, above } = scene
    const mode = scene.mode === 'thumbnail' ? 'image' : scene.mode
    const light = scene.mode === 'thumbnail' ? {} : { around, above }
    const camera = { yaw, pitch, roll, perspective, fov: scene.fov ?? header.fov_deg }
    const seen = { ...viewer.firstScene(header), ...camera, ...light, mode }
    this.setHead(scene)
    renderer.begin(size, viewer.viewOf(seen, header), viewer.needsNormals(seen))
    renderer.advance(size)
    renderer.shade(mode, seen)
    return renderer.finished()
  }
}
