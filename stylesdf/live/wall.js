'use strict'
// A wall of heads on a plane of the latent space: the mean head in the middle of a square, eight seeds on its rim, all
// between them linear. So every place is a scene: two neighbours on the rim, a share, and truncation, which is how far
// from the middle it lies.

const TILES = 25, TILE = 64, TILE_GUIDE = 16 // heads a side; pixels and samples of the guide a side of one
const STEP = 2 / (TILES - 1) // between heads; the square is -1 .. 1
const TILES_MS = 30, HOLD_MS = 450, STILL = 6 // pixels that a finger may move and still point

// The head at (x, y), as part of a scene; first: the seed that the rim begins with
function headAt(first, [x, y]) {
  const [near, far] = [Math.abs(x), Math.abs(y)].sort((a, b) => a - b), along = far > 0 ? near / far : 0
  const eighth = Math.floor(Math.atan2(y, x) / Math.PI * 4 + 8) % 8
  const [seed, to] = [eighth, (eighth + 1) % 8].map((n) => (first + n) % (MAX_SEED + 1))
  return { seed, to, share: tidy(eighth % 2 ? 1 - along : along, 3), psi: tidy(far, 3) }
}

const placeOf = (n) => [STEP * (n % TILES) - 1, 1 - STEP * Math.floor(n / TILES)] // of a tile

class Wall {
  constructor(viewer) {
    Object.assign(this, { viewer, isOpen: false, first: null, chosen: (TILES ** 2 - 1) / 2, from: null, batch: 1,
      middle: [0, 0], across: TILES }) // the last two: of the view, and how many tiles are side by side in it
    this.node = Object.assign(document.createElement('div'), { id: 'wall', tabIndex: 0, role: 'application',
      innerHTML: `<canvas width="${TILES * TILE}" height="${TILES * TILE}"></canvas><i></i><i></i>`,
      ariaLabel: 'A wall of heads. Arrow keys choose one, Enter opens it, Space marks one to morph from.' })
    this.bind()
  }

  // As a link's fragment says: `wall`, or `wall=first,x,y,across`
  read(fragment) {
    const text = new URLSearchParams(fragment.slice(1)).get('wall')
    if (text === null) return this.close()
    const [first, x, y, across] = text.split(',')
    this.first = readField('seed', first) ?? this.viewer.scene.seed
    this.open()
    this.look([Number(x) || 0, Number(y) || 0], Number(across) || TILES)
  }

  write() {
    return this.isOpen ? `&wall=${[this.first, ...this.middle, this.across].map((value) => tidy(value))}` : ''
  }

  open() {
    const { viewer } = this
    this.seed = viewer.scene.seed // another one, typed or by chance, makes another wall
    this.first ??= this.seed
    this.isOpen = byId('save').disabled = true
    viewer.play(viewer.isTurning = false)
    viewer.press('turn', false)
    viewer.press('wall-button', true)
    viewer.stop()
    byId('canvas').after(this.node)
    this.choose(this.chosen)
  }

  close() {
    if (!this.isOpen) return
    const { viewer } = this
    this.isOpen = byId('save').disabled = false
    this.from = null
    viewer.restart()
    viewer.press('wall-button', false)
    viewer.tell()
    const uncover = () => { // once the head is there
      if (!viewer.hasSurface && !viewer.isDecoded) requestAnimationFrame(uncover)
      else if (!this.isOpen) this.node.remove()
    }
    uncover()
  }

  // Open a head; where it was reached from another, go there and back on the straight line over the wall.
  enter(n, from) {
    const { viewer, first } = this, [start, end] = [from ?? n, n].map(placeOf)
    viewer.set(headAt(first, start))
    this.close()
    if (from === null || from === n) return
    viewer.play(true)
    viewer.phase = 0
    viewer.path = (share) => headAt(first, lerp(start, end, share))
  }

  // Draw some of the heads that are missing, those in the middle of the view first.
  async draw() {
    const { viewer, middle, node } = this, { renderer, model, scene, header } = viewer
    if (scene.seed !== this.seed) this.first = this.seed = scene.seed
    const { seed, psi, to, share, ...rest } = scene, kind = JSON.stringify([this.first, rest])
    if (kind !== this.kind) this.missing = Array.from({ length: TILES ** 2 }, (_, n) => n)
    this.kind = kind
    const distance = (n) => Math.max(...placeOf(n).map((value, i) => Math.abs(value - middle[i])))
    const tiles = this.missing.sort((a, b) => distance(b) - distance(a)).splice(-Math.ceil(this.batch))
    const start = performance.now()
    for (const n of tiles) {
      renderer.setHead(model.head({ ...scene, ...headAt(this.first, placeOf(n)) }), TILE_GUIDE)
      renderer.begin(TILE, viewOf(scene, header), needsNormals(scene))
      renderer.advance(TILE)
      renderer.shade(scene.mode, scene)
      const pen = node.firstChild.getContext('2d')
      pen.drawImage(renderer.canvas, TILE * (n % TILES), TILE * Math.floor(n / TILES))
    }
    if (!tiles.length) return
    await viewer.wait() // a copy may have waited for the card before
    this.batch = clamp(this.batch * TILES_MS / (performance.now() - start), [0.5, 32])
  }

  look(middle, across = this.across) {
    this.middle = middle.map((value) => clamp(value, [-1, 1]))
    this.across = clamp(across, [2, TILES])
    this.viewer.tell()
    this.choose(this.chosen)
  }

  // Zoom around a place, which stays where it is.
  zoom(factor, place) {
    const across = clamp(this.across * factor, [2, TILES])
    this.look(lerp(place, this.middle, across / this.across), across)
  }

  choose(n, from = this.from) {
    const { seed, to, share, psi } = headAt(this.first, placeOf(n)), [x, y] = this.middle, size = 100 / this.across
    Object.assign(this, { chosen: n, from })
    byId('pose').textContent = `seed ${seed}, ${Math.round(100 * share)} % of ${to}, truncation ${psi.toFixed(2)}`
    const put = ({ style }, tile, tiles) => {
      style.left = `${50 + size * (tile % TILES - (x + 1) / STEP - 0.5)}%`
      style.top = `${50 + size * (Math.floor(tile / TILES) - (1 - y) / STEP - 0.5)}%`
      style.width = style.height = `${size * tiles}%`
    }
    const [canvas, ring, mark] = this.node.children
    put(canvas, 0, TILES)
    put(ring, n, 1)
    put(mark, from, 1)
    mark.hidden = from === null
  }

  placeAt({ clientX, clientY }) {
    const box = this.node.getBoundingClientRect(), scale = this.across * STEP / box.width, [x, y] = this.middle
    return [x + scale * (clientX - box.left - box.width / 2), y - scale * (clientY - box.top - box.height / 2)]
  }

  tileAt(event) {
    const [x, y] = this.placeAt(event), index = (value) => clamp(Math.round((value + 1) / STEP), [0, TILES - 1])
    return index(x) + TILES * index(-y)
  }

  bind() {
    const { node } = this, fingers = new Map(), on = (kind, act) => node.addEventListener(kind, act)
    let moved = 0, holding
    on('pointerdown', (event) => {
      node.focus({ preventScroll: true })
      node.setPointerCapture(event.pointerId)
      fingers.set(event.pointerId, event)
      moved = fingers.size > 1 ? STILL : 0
      const tile = this.tileAt(event)
      this.choose(tile, event.shiftKey ? tile : null)
      clearTimeout(holding)
      holding = setTimeout(() => { if (moved < STILL) this.choose(tile, tile) }, HOLD_MS)
      event.preventDefault()
    })
    on('pointermove', (event) => {
      const before = fingers.get(event.pointerId)
      if (!before || this.from !== null) return this.choose(this.tileAt(event))
      fingers.set(event.pointerId, event)
      moved += Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY)
      if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1]
        const apart = ({ clientX, clientY }) => Math.hypot(clientX - other.clientX, clientY - other.clientY) + 1
        this.zoom(apart(before) / apart(event), this.placeAt(other))
      } else if (moved > STILL) {
        const [old, now] = [before, event].map((hand) => this.placeAt(hand))
        this.look(this.middle.map((value, i) => value + old[i] - now[i]))
      }
    })
    on('lostpointercapture', ({ pointerId }) => {
      clearTimeout(holding)
      fingers.delete(pointerId)
      if (!fingers.size && (this.from !== null || moved < STILL)) this.enter(this.chosen, this.from)
    })
    on('contextmenu', (event) => event.preventDefault()) // of a finger that holds
    on('wheel', (event) => {
      event.preventDefault()
      this.zoom(ZOOM_STEP ** Math.sign(event.deltaY), this.placeAt(event))
    })
    on('keydown', (event) => {
      const { chosen, from } = this, { key } = event
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -TILES, ArrowDown: TILES }[key]
      if (step) {
        this.choose(clamp(chosen + step, [0, TILES ** 2 - 1]))
        if (this.across < TILES) this.look(placeOf(this.chosen))
      } else if (key === '+' || key === '-') this.zoom(ZOOM_STEP ** (key === '+' ? -1 : 1), placeOf(chosen))
      else if (key === ' ') this.choose(chosen, from === null ? chosen : null)
      else if (key === 'Enter') this.enter(chosen, from)
      else if (key === 'Escape') this.close()
      else return
      event.preventDefault()
    })
    byId('wall-button').addEventListener('click', () => (this.isOpen ? this.close() : this.open()))
  }
}
