// The picture that turns under the pointer. Gradio provides element, props, server, trigger and watch. While the hand
// moves, the browser draws (live.js), or the server where the browser cannot; when it rests, the server.
// Drag: yaw and pitch. Wheel or two fingers: field of view. Double click: back to the front. Keys: see onKey.
const SELDOM = 1, NEVER = 1.5 // in units of the angles that the model's training saw often
const HEADER_BYTES = 131072 // more than a PNG's header is read for, see scene.py
const DEGREES_PER_WIDTH = 120, KEY_STEP = 5, ZOOM_STEP = 1.1, SETTLE_MS = 220
const stage = element.querySelector('.stage')
const picture = element.querySelector('.stage-picture')
const pose = element.querySelector('.stage-pose')
const live = new LiveStage(element.querySelector('.stage-live'), (state) => { stage.dataset.live = state })

let scene = null // what the server drew last
let camera = null // where the hand is, ahead of the server
let wanted = null // the camera to draw next; a newer one replaces it
let isDrawing = false
let isMoving = false
let settling = null
const fingers = new Map()

const clamp = (value, low, high) => Math.min(Math.max(value, low), high)
const limits = () => props.value.limits
const tidy = (value) => Math.round(value * 10) / 10

function show() {
  const value = props.value
  if (!value || !value.scene) return
  scene = value.scene
  if (isMoving) return
  camera = { yaw: scene.yaw, pitch: scene.pitch, roll: scene.roll, fov: scene.fov ?? value.fov }
  picture.src = value.picture
  picture.alt = value.alt
  stage.dataset.drawn = value.query
  tell()
  picture.decode().catch(() => {}).then(() => { if (!isMoving) stage.classList.remove('is-live') })
  live.prepare(scene, locate)
}

// The address of a model's weights, which the server makes when they are first asked for.
async function locate(model) {
  const { path } = await server.weights(model)
  return path && `${window.gradio_config?.root ?? '.'}/gradio_api/file=${path}`
}

function tell() {
  const { yaw, pitch, fov } = camera, { known } = props.value
  const beyond = Math.hypot(yaw / known[0], pitch / known[1]) // how far it knows heads
  const warning = beyond > NEVER ? ', a guess: not seen in training' : beyond > SELDOM ? ', seldom seen in training' : ''
  const told = `yaw ${yaw.toFixed(0)}°  pitch ${pitch.toFixed(0)}°  fov ${fov.toFixed(1)}°${warning}`
  pose.textContent = !yaw && !pitch && fov === props.value.fov ? 'drag to turn' : told
}

function turn(change) {
  if (!camera) return
  const { yaw, pitch, fov } = limits()
  isMoving = true
  camera = { ...camera, ...change }
  camera.yaw = tidy(clamp(camera.yaw, -yaw, yaw))
  camera.pitch = tidy(clamp(camera.pitch, -pitch, pitch))
  camera.fov = tidy(clamp(camera.fov, fov[0], fov[1]))
  tell()
  wanted = camera
  draw()
}

// One request at a time: what came in meanwhile is drawn next, what was overtaken never.
async function draw() {
  if (isDrawing) return
  stage.ariaBusy = isDrawing = true
  try {
    while (wanted) {
      const now = { ...scene, ...wanted }
      wanted = null
      if (live.draws(now)) {
        await live.draw(now)
        stage.classList.toggle('is-live', isMoving || stage.classList.contains('is-live'))
      } else {
        const answer = await server.quick(now)
        if (!answer || !answer.picture || !isMoving) continue
        picture.src = answer.picture
        stage.classList.remove('is-live')
      }
      stage.dataset.frames = Number(stage.dataset.frames || 0) + 1
    }
  } catch (error) {
    wanted = null // the full picture comes when the hand rests
  } finally {
    stage.ariaBusy = isDrawing = false
  }
}

function settle(delay) {
  clearTimeout(settling)
  settling = setTimeout(() => {
    if (!isMoving || fingers.size) return
    isMoving = false
    if (!live.draws(scene)) wanted = null
    const same = ['yaw', 'pitch', 'roll'].every((name) => camera[name] === scene[name])
    if (same && camera.fov === (scene.fov ?? props.value.fov)) return show()
    props.value = { ...props.value, camera }
    trigger('release')
  }, delay)
}

stage.addEventListener('pointerdown', (event) => {
  if (event.button !== 0 || !camera) return
  stage.focus({ preventScroll: true })
  stage.setPointerCapture(event.pointerId)
  fingers.set(event.pointerId, [event.clientX, event.clientY])
  event.preventDefault()
})

stage.addEventListener('pointermove', (event) => {
  const before = fingers.get(event.pointerId)
  if (!before) return
  const now = [event.clientX, event.clientY]
  fingers.set(event.pointerId, now)
  if (fingers.size === 1) {
    const scale = DEGREES_PER_WIDTH / stage.clientWidth
    turn({ yaw: camera.yaw - (now[0] - before[0]) * scale, pitch: camera.pitch + (now[1] - before[1]) * scale })
  } else if (fingers.size === 2) {
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place)
    const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1])
    turn({ fov: camera.fov * (apart(before) / Math.max(apart(now), 1)) })
  }
})

const lift = (event) => {
  if (fingers.delete(event.pointerId) && !fingers.size) settle(0)
}
stage.addEventListener('pointerup', lift)
stage.addEventListener('pointercancel', lift)

stage.addEventListener('wheel', (event) => {
  if (!camera) return
  event.preventDefault()
  turn({ fov: camera.fov * Math.pow(ZOOM_STEP, Math.sign(event.deltaY)) })
  settle(SETTLE_MS)
}, { passive: false })

const front = () => { turn({ yaw: 0, pitch: 0, roll: 0, fov: props.value.fov }); settle(0) }
stage.addEventListener('dblclick', front)

stage.addEventListener('keydown', (event) => {
  if (!camera || event.ctrlKey || event.metaKey || event.altKey) return
  const moves = {
    ArrowLeft: () => ({ yaw: camera.yaw - KEY_STEP }),
    ArrowRight: () => ({ yaw: camera.yaw + KEY_STEP }),
    ArrowUp: () => ({ pitch: camera.pitch + KEY_STEP }),
    ArrowDown: () => ({ pitch: camera.pitch - KEY_STEP }),
    '+': () => ({ fov: camera.fov / ZOOM_STEP }),
    '-': () => ({ fov: camera.fov * ZOOM_STEP }),
  }
  if (event.key === 'Home' || event.key === '0') front()
  else if (moves[event.key]) { turn(moves[event.key]()); settle(SETTLE_MS) }
  else return
  event.preventDefault()
})

// A picture that is dropped beside all fields is one of this page, instead of replacing it: its header tells the scene.
const holdsFile = (event) => event.dataTransfer?.types.includes('Files') // text goes into fields
document.addEventListener('dragover', (event) => { if (holdsFile(event)) event.preventDefault() })
document.addEventListener('drop', (event) => {
  if (event.defaultPrevented || !holdsFile(event)) return
  event.preventDefault()
  const [file] = event.dataTransfer.files
  if (!file) return
  const reader = new FileReader()
  reader.onload = () => {
    props.value = { ...props.value, dropped: reader.result }
    trigger('upload')
  }
  reader.readAsDataURL(file.slice(0, HEADER_BYTES))
})

watch('value', show)
show()
