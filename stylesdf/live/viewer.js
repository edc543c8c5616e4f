'use strict'
// The page: controls, hands and keys change the scene; a loop draws it, at a size that the graphics card can follow.

const MOVING_MS = 30 // what one frame may take while something moves
const BAND_MS = 45 // what a part of a sharper drawing may take: a hand must not wait
const STILL_MS = 6000 // what the sharpest drawing may take
const REST_MS = 150 // of rest, until sharper drawings begin
const SMALLEST = 64, LARGEST = 1024 // pixels per side
const FAST = 1500 // nanoseconds per pixel; below it, a fine guide costs nothing
const GUIDES = { first: 16, moving: 24, still: 32, fast: 48 } // samples per side
const DEGREES_PER_WIDTH = 150, KEY_STEP = 5, ZOOM_STEP = 1.1, TURN_SPEED = 24, SPIN_DECAY = 4, MORPH_SECONDS = 4

const MODE_NAMES = ['Picture', 'Normals', 'Depth', 'Clay']
const byId = (id) => document.getElementById(id)

function startViewer() {
  const say = (text) => { byId('status').textContent = text }
  try {
    const header = JSON.parse(byId('header').textContent)
    const text = atob(byId('weights').textContent), weights = new Uint8Array(text.length)
    for (let i = 0; i < text.length; i++) weights[i] = text.charCodeAt(i)
    const shaders = {}
    for (const part of document.querySelectorAll('script[type="x-shader"]')) shaders[part.id] = part.textContent
    const model = new Model(header, weights), renderer = new Renderer(byId('canvas'), header, shaders)
    say('')
    window.liveHeads = new Viewer(model, renderer, say)
  } catch (error) {
    say(error.message)
  }
}

class Viewer {
  constructor(model, renderer, say) {
    Object.assign(this, { model, renderer, say, header: model.header })
    this.stop()
    this.restart()
    this.isTurning = this.isPlaying = this.isWaiting = this.isHeld = false
    this.cost = null // nanoseconds per pixel, of whole drawings of the surface
    this.pictureMs = null // milliseconds of a decoded picture
    this.moved = ''
    this.bandPixels = SMALLEST ** 2 / 4
    this.bandProducts = 3e5
    this.decoder = this.header.decoder && new Decoder(renderer, model)
    this.changed = this.before = performance.now()
    LIMITS.fov = [Math.min(4, this.header.fov_deg), Math.max(40, this.header.fov_deg), 0.1]
    const { scene, complaints } = readFragment(location.hash, this.header)
    this.scene = scene
    this.notice(complaints.join(' '))
    byId('about').textContent = `A generator of heads, drawn by this page alone. Model: ${this.header.name}.`
    const plain = this.decoder ? this.decoder.complaint() : this.header.plain
    if (plain) this.giveUpDecoder(plain)
    if (this.header.studio) {
      const link = Object.assign(document.createElement('a'), { href: this.header.studio, target: '_blank', rel: 'noopener' })
      link.textContent = 'Meshes and films'
      byId('about').append(' ', link)
    }
    this.bindControls()
    this.bindHands()
    this.bindCanvas()
    this.tell()
    this.wall = new Wall(this)
    this.wall.read(location.hash)
    requestAnimationFrame((now) => this.tick(now))
  }

  // ---- the scene

  restart() { // all is drawn anew
    this.needs = { head: true, view: true, shade: true }
    this.isHeadNew = this.isSharp = this.isDecoded = this.hasSurface = this.hasNormals = false
  }

  // Take over some values of the scene and draw what they change. A morph ends without a goal, or over the wall where
  // another head is asked for.
  set(change, isPlayed = false) {
    const isOther = this.path && ('seed' in change || 'psi' in change || 'to' in change)
    if (!isPlayed && (isOther || change.to === null)) this.play(false)
    const old = this.scene
    this.scene = { ...old, ...change }
    const differs = (...names) => names.some((name) => old[name] !== this.scene[name])
    if (differs('seed', 'psi', 'texture', 'to', 'share', 'edit')) this.needs.head = true
    if (differs('yaw', 'pitch', 'roll', 'fov', 'perspective', 'cut', 'cutAt')) this.needs.view = true
    if (differs('mode')) this.isSharp = false
    if (differs('mode', 'around', 'above')) {
      this.needs.shade = true
      if (needsNormals(this.scene) ? !this.hasNormals : !this.wantsPicture() && !this.hasSurface) this.needs.view = true
    }
    this.changed = performance.now()
    if (this.hasNotice) this.notice('')
    this.tell()
  }

  // Say something that stays until the next change.
  notice(text) {
    this.hasNotice = text !== ''
    this.say(text)
  }

  // Whether the decoder's picture is wanted, which has no cut.
  wantsPicture() {
    return Boolean(this.decoder) && this.scene.mode === 'image' && this.scene.cut === 'none'
  }

  giveUpDecoder(why) {
    this.decoder = null
    byId('about').append(` It shows the surface with its own colour, not the decoder's picture: ${why}.`)
  }

  turn(yaw, pitch) {
    const { scene } = this
    this.set({ yaw: tidy(wrap(scene.yaw + yaw)), pitch: tidy(clamp(scene.pitch + pitch, LIMITS.pitch)) })
  }

  zoom(factor) {
    this.set({ fov: tidy(clamp(this.scene.fov * factor, LIMITS.fov)) })
  }

  stop() {
    this.spin = { yaw: 0, pitch: 0 } // degrees per second, after the hand has let go
  }

  front() {
    this.stop()
    this.press('turn', this.isTurning = false)
    this.set({ yaw: 0, pitch: 0, roll: 0, fov: this.header.fov_deg })
  }

  step(seeds) {
    this.set({ seed: clamp(this.scene.seed + seeds, [0, MAX_SEED]) })
  }

  // Controls, address and code follow
  tell() {
    const { scene, header } = this, values = { ...scene }, amounts = Object.fromEntries(readEdits(scene.edit))
    for (const name of header.directions) values[`edit-${name}`] = amounts[name] ?? 0
    for (const input of document.querySelectorAll('select, input[id]')) {
      const name = input.id, text = values[name] === null ? '' : `${values[name]}`
      if (input.value !== text && !(document.activeElement === input && input.type === 'number')) input.value = text
    }
    for (const output of document.querySelectorAll('output')) {
      const name = output.htmlFor.value, unit = ['fov', 'around', 'above'].includes(name) ? '°' : ''
      output.textContent = `${values[name]}${unit}`
    }
    document.querySelector(`#mode input[value=${scene.mode}]`).checked = true
    byId('light').hidden = !['image', 'shape'].includes(scene.mode)
    byId('depth-of-cut').hidden = scene.cut === 'none'
    byId('share').disabled = byId('play').disabled = scene.to === null
    byId('pose').textContent = `yaw ${scene.yaw.toFixed(0)}°  pitch ${scene.pitch.toFixed(0)}°  fov ${scene.fov.toFixed(1)}°`
    byId('code').textContent = pythonOf(scene, header)
    document.title = titleOf(scene)
    clearTimeout(this.writing)
    this.writing = setTimeout(() => this.writeAddress(), 200) // browsers limit how often
  }

  writeAddress() {
    const fragment = writeFragment(this.scene, this.header) + this.wall.write()
    if (location.hash !== fragment) history.replaceState(null, '', fragment)
  }

  // ---- controls, hands, keys

  press(id, isPressed) {
    byId(id).setAttribute('aria-pressed', isPressed)
  }

  // Choices and sliders, also for what the model's directions change
  addControls() {
    byId('mode').innerHTML = CHOICES.mode.map((mode, i) =>
      `<label><input type="radio" name="mode" value="${mode}"><span>${MODE_NAMES[i]}</span></label>`).join('')
    const { directions } = this.header, box = byId('edits')
    box.hidden = !directions.length
    box.innerHTML += directions.map((name) =>
      `<label data-slider="edit-${name}">${name.replaceAll('_', ' ')}</label>`).join('')
    for (const label of document.querySelectorAll('[data-slider]')) {
      const name = label.dataset.slider, [min, max, step = 0.01] = LIMITS[name] || [-3, 3, 0.1]
      label.htmlFor = name
      label.innerHTML += ` <output for="${name}"></output>
        <input id="${name}" type="range" min="${min}" max="${max}" step="${step}">`
    }
  }

  // Take over what a control says.
  input(name, text) {
    if (name.startsWith('edit-')) {
      const edit = this.header.directions.map((each) => [each, Number(byId(`edit-${each}`).value)])
      return this.set({ edit: writeEdits(edit) })
    }
    const value = text === '' && name !== 'seed' ? null : readField(name, text)
    if (value === undefined) return
    this.set({ [name]: value })
    if (name === 'to' && value !== null && this.scene.share === 0) this.set({ share: 0.5 })
  }

  bindControls() {
    this.addControls()
    byId('panel').addEventListener('input', ({ target: { id, name, value } }) => this.input(name || id, value))
    for (const name of SEEDS) {
      Object.assign(byId(name), { type: 'number', min: 0, max: MAX_SEED, inputMode: 'numeric' })
      byId(name).addEventListener('blur', () => this.tell())
    }
    const onClick = (id, act) => byId(id).addEventListener('click', act)
    onClick('previous', () => this.step(-1))
    onClick('next', () => this.step(1))
    onClick('random', () => this.set({ seed: Math.floor(Math.random() * 10000) }))
    onClick('play', () => this.play(!this.isPlaying))
    onClick('turn', () => this.press('turn', this.isTurning = !this.isTurning))
    onClick('front', () => this.front())
    onClick('save', () => this.save())
    onClick('copy-link', () => { this.writeAddress(); this.copy(location.href, 'The link') })
    onClick('copy-code', () => this.copy(byId('code').textContent, 'The code'))
    window.addEventListener('hashchange', (event) => {
      const { hash } = new URL(event.newURL) // the address may say the scene of before again by now
      const { scene, complaints } = readFragment(hash, this.header)
      this.set(scene)
      this.wall.read(hash)
      this.notice(complaints.join(' '))
    })
  }

  play(isPlaying) {
    this.isPlaying = isPlaying
    this.path = null // of a morph over the wall: from a share of the way to a part of a scene
    this.press('play', isPlaying)
    this.phase = Math.acos(1 - 2 * this.scene.share) // of the way there and back
  }

  bindHands() {
    const canvas = byId('canvas'), fingers = new Map(), on = (...event) => canvas.addEventListener(...event)
    let last = 0, turnsLight = false
    on('pointerdown', (event) => {
      if (event.button > 2) return
      canvas.focus({ preventScroll: true })
      canvas.setPointerCapture(event.pointerId)
      fingers.set(event.pointerId, [event.clientX, event.clientY])
      turnsLight = !byId('light').hidden && (event.shiftKey || event.button === 2)
      this.isHeld = true
      this.stop()
      last = event.timeStamp
      event.preventDefault()
    })
    on('pointermove', (event) => {
      const before = fingers.get(event.pointerId)
      if (!before) return
      const now = [event.clientX, event.clientY], scale = DEGREES_PER_WIDTH / canvas.clientWidth
      fingers.set(event.pointerId, now)
      const across = (now[0] - before[0]) * scale, down = (now[1] - before[1]) * scale
      if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1]
        const apart = (place) => Math.max(Math.hypot(place[0] - other[0], place[1] - other[1]), 1)
        this.zoom(apart(before) / apart(now))
      } else if (turnsLight) {
        const { around, above } = this.scene
        this.set({ around: Math.round(wrap(around + 2 * across)), above: Math.round(clamp(above - 2 * down, LIMITS.above)) })
      } else if (fingers.size === 1) {
        this.turn(-across, down) // the camera goes against the hand
        const seconds = Math.max(event.timeStamp - last, 1) / 1000
        const mixed = (old, now) => 0.6 * old + 0.4 * clamp(now / seconds, [-400, 400])
        this.spin = { yaw: mixed(this.spin.yaw, -across), pitch: mixed(this.spin.pitch, down) }
        last = event.timeStamp
      }
    })
    const lift = (event) => {
      if (!fingers.delete(event.pointerId) || fingers.size) return
      this.isHeld = false
      const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches
      if (calm || turnsLight || event.timeStamp - last > 80) this.stop()
    }
    on('pointerup', lift)
    on('pointercancel', lift)
    on('contextmenu', (event) => event.preventDefault())
    on('wheel', (event) => {
      event.preventDefault()
      const pixels = event.deltaY * (event.deltaMode === 0 ? 1 : 33) // else it counts lines
      this.zoom(ZOOM_STEP ** (clamp(pixels, [-100, 100]) / 100))
    }, { passive: false })
    on('dblclick', () => this.front())
    on('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return
      const actions = {
        ArrowLeft: () => this.turn(-KEY_STEP, 0), ArrowRight: () => this.turn(KEY_STEP, 0),
        ArrowUp: () => this.turn(0, KEY_STEP), ArrowDown: () => this.turn(0, -KEY_STEP),
        '+': () => this.zoom(1 / ZOOM_STEP), '=': () => this.zoom(1 / ZOOM_STEP), '-': () => this.zoom(ZOOM_STEP),
        Home: () => this.front(), 0: () => this.front(), PageUp: () => this.step(-1), PageDown: () => this.step(1),
        ' ': () => byId('turn').click(),
      }
      CHOICES.mode.forEach((mode, i) => { actions[i + 1] = () => this.set({ mode }) })
      if (!(event.key in actions)) return
      actions[event.key]()
      event.preventDefault()
    })
  }

  // ---- drawing

  bindCanvas() {
    const canvas = byId('canvas')
    new ResizeObserver(() => { this.changed = performance.now() }).observe(canvas)
    canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault()
      this.isLost = true
      this.say('The graphics card was taken away; the head comes back with it.')
    })
    canvas.addEventListener('webglcontextrestored', () => {
      this.renderer.restore()
      if (this.decoder) this.decoder.restore()
      this.say('')
      this.restart()
      this.isLost = this.isWaiting = false
    })
  }

  isFast() {
    return this.cost !== null && this.cost < FAST
  }

  // Pixels per side that would be worth drawing: two for every one of the screen, for smooth edges.
  fullSize() {
    return clamp(2 * Math.round(byId('canvas').clientWidth * (window.devicePixelRatio || 1)), [SMALLEST, LARGEST])
  }

  // The largest size that takes so many milliseconds.
  affordable(milliseconds) {
    const size = this.cost === null ? SMALLEST : Math.sqrt(milliseconds * 1e6 / this.cost)
    return clamp(8 * Math.floor(size / 8), [SMALLEST, this.fullSize()])
  }

  tick(now) {
    const seconds = Math.min((now - this.before) / 1000, 0.1)
    this.before = now
    this.animate(seconds)
    if (!this.isWaiting && !this.isLost) {
      this.draw().catch((error) => {
        this.hasFailed = true
        this.say(error.message)
      })
    }
    if (!this.hasFailed) requestAnimationFrame((next) => this.tick(next))
  }

  animate(seconds) {
    const { spin } = this
    if (!this.isHeld && (spin.yaw || spin.pitch)) {
      this.turn(spin.yaw * seconds, spin.pitch * seconds)
      for (const axis of ['yaw', 'pitch']) {
        spin[axis] *= Math.exp(-SPIN_DECAY * seconds)
        if (Math.abs(spin[axis]) < 1) spin[axis] = 0
      }
    }
    if (this.isTurning && !this.isHeld) this.turn(TURN_SPEED * seconds, 0)
    if (this.isPlaying) {
      this.phase += Math.PI * seconds / MORPH_SECONDS
      const share = tidy(0.5 - 0.5 * Math.cos(this.phase), 3)
      this.set(this.path ? this.path(share) : { share }, true)
    }
  }

  // One piece of work for the graphics card: a head, a band of a drawing, or its shading.
  async draw() {
    if (this.wall.isOpen) return this.wall.draw()
    const { renderer, needs } = this, isRunning = renderer.job !== null
    if (needs.head && !this.isHeadNew) { // each head is drawn before the next one comes
      needs.head = this.isSharp = this.isStyled = false
      needs.view = this.isHeadNew = true
      this.headScene = this.scene
      this.texels = this.model.head(this.scene)
      renderer.setHead(this.texels, GUIDES[this.cost === null ? 'first' : this.isFast() ? 'fast' : 'moving'])
      return this.wait()
    }
    if (needs.view && !(isRunning && this.isMovingJob)) {
      needs.view = this.isHeadNew = this.isSharp = this.isDecoded = this.hasSurface = this.hasNormals = false
      const isQuick = this.pictureMs !== null && this.pictureMs < MOVING_MS && !needsNormals(this.scene)
      if (this.wantsPicture() && isQuick) this.beginPicture(true)
      else this.begin(this.affordable(MOVING_MS), true)
    } else if (!isRunning && !this.isSharp && performance.now() - this.changed > REST_MS) {
      if (renderer.guide.size < GUIDES.still) {
        renderer.setHead(this.texels, this.isFast() ? GUIDES.fast : GUIDES.still)
        return this.wait()
      }
      if (!this.wantsPicture()) this.sharpen()
      else if (this.isDecoded) this.sharpened()
      else this.beginPicture(false)
    }
    if (renderer.job) return this.band()
    if (needs.shade) this.shade()
  }

  begin(size, isMoving) {
    this.isMovingJob = isMoving
    this.jobHasNormals = needsNormals(this.scene)
    this.spent = 0
    this.renderer.begin(size, viewOf(this.scene, this.header), this.jobHasNormals)
  }

  // The surface with more pixels, or enough of it.
  sharpen() {
    const shown = this.renderer.targets[0].size, most = this.affordable(STILL_MS)
    if (most < 1.2 * shown) this.sharpened()
    else this.begin(2.4 * shown > most ? most : 2 * shown, false)
  }

  beginPicture(isMoving) {
    const { decoder } = this
    this.isMovingJob = isMoving
    this.spent = this.largestBand = 0
    this.tryDecoder(() => {
      if (!this.isStyled) decoder.setHead(this.model.decoderHead(this.headScene))
      this.isStyled = true
      decoder.begin(viewOf(this.scene, this.header), isMoving ? decoder.resolution : 8)
    })
  }

  // Use the decoder, or go on without
  tryDecoder(act) {
    try {
      return act()
    } catch (error) {
      this.giveUpDecoder(error.message)
      this.renderer.job = null
      this.needs.view = true
    }
  }

  // Draw as much as fits into one band, all of it while something moves.
  async band() {
    const { renderer } = this, { job } = renderer, { size, isPicture, products } = job
    const part = isPicture ? this.bandProducts : Math.max(this.bandPixels / size, 1)
    const draw = () => renderer.advance(this.isMovingJob ? Infinity : part)
    const isDone = isPicture ? this.tryDecoder(draw) : draw()
    if (isDone) {
      if (isPicture) this.isDecoded = true
      else [this.hasSurface, this.hasNormals] = [true, this.jobHasNormals]
      this.shade()
    }
    const milliseconds = await this.wait()
    if (this.isLost) return
    this.spent += milliseconds
    const factor = this.isMovingJob ? 1 : clamp(BAND_MS / milliseconds, [0.3, 2]) // rows differ: some are empty
    if (isPicture) this.bandProducts *= factor
    else this.bandPixels *= factor
    if (isPicture && job.products - products > this.largestBand) { // the largest tells best what all takes
      this.largestBand = job.products - products
      this.largestMs = milliseconds
    }
    if (!isDone) return
    const mean = (old, now) => (old === null ? now : Math.sqrt(old * now))
    if (isPicture) this.pictureMs = mean(this.pictureMs, this.largestMs * job.products / this.largestBand)
    else this.cost = mean(this.cost, this.spent * 1e6 / size ** 2)
    if (this.isMovingJob) this.moved = `${size} × ${size} pixels in ${milliseconds.toFixed(0)} ms while it moves; `
    this.facts()
  }

  async wait() {
    this.isWaiting = true
    const milliseconds = await this.renderer.finished()
    this.isWaiting = false
    return milliseconds
  }

  shade() {
    const { scene } = this
    if (needsNormals(scene) && !this.hasNormals) return // they are on their way
    this.needs.shade = false
    if (this.wantsPicture() && this.isDecoded) this.decoder.show(scene)
    else this.renderer.shade(scene.mode, scene)
  }

  // The drawing is as good as it gets: say so, for those who wait for it.
  sharpened() {
    this.isSharp = true
    byId('canvas').dataset.drawn = writeFragment(this.scene, this.header)
    if (this.isSaving) this.save()
  }

  facts() {
    const picture = this.pictureMs === null ? '' : `decoded in ${this.pictureMs.toFixed(0)} ms; `
    byId('facts').textContent = `${this.moved}${picture}${this.renderer.guide.size}³ guide; no server, nothing leaves this page.`
  }

  // ---- to take home

  // Save the finished drawing, unless it keeps moving.
  save() {
    this.isSaving = !this.isSharp && !this.isTurning && !this.isPlaying
    this.notice(this.isSaving ? 'The picture is saved as soon as it is finished.' : '')
    if (this.isSaving) return
    this.shade() // a canvas keeps its picture only until it has been shown
    byId('canvas').toBlob(async (blob) => {
      const bytes = new Uint8Array(await blob.arrayBuffer()), link = document.createElement('a')
      link.href = URL.createObjectURL(withText(bytes, metadataOf(this.scene, this.header)))
      link.download = `${titleOf(this.scene)}.png`
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 10000)
    }, 'image/png')
  }

  async copy(text, what) {
    try {
      await navigator.clipboard.writeText(text)
      this.notice(`${what} is on the clipboard.`)
    } catch {
      this.notice(`This browser does not let the page copy; ${what.toLowerCase()} can be selected by hand.`)
    }
  }
}
