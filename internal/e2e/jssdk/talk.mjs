// Two people talk across two agencies with matrix-js-sdk. The Go test that runs
// this (jssdk_test.go) passes the base URLs of the agencies as arguments; each
// step that worked is printed, and the first that did not ends the program.
import assert from "node:assert/strict";
import {
  ClientEvent, MatrixEventEvent, RoomEvent, RoomMemberEvent, RoomStateEvent, createClient,
} from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

logger.setLevel("error", false);

const [northUrl, southUrl] = process.argv.slice(2);
const password = "correct horse battery staple";
const patience = 60_000;
const running = [];

// login registers the user by the flow that the server offers, and logs in.
async function login(baseUrl, username) {
  const visitor = createClient({ baseUrl });
  const account = { username, password, inhibit_login: true };
  const challenge = await visitor.registerRequest(account).then(
    () => assert.fail("registered without any authentication"),
    (error) => error.data,
  );
  assert.ok(challenge.flows.some((flow) => flow.stages.length === 1 && flow.stages[0] === "m.login.dummy"));
  await visitor.registerRequest({ ...account, auth: { type: "m.login.dummy", session: challenge.session } });
  const session = await visitor.loginRequest({
    type: "m.login.password", identifier: { type: "m.id.user", user: username }, password,
  });
  return { baseUrl, accessToken: session.access_token, userId: session.user_id, deviceId: session.device_id };
}

// start syncs as an application does that was just opened.
async function start(session, options) {
  const client = createClient({ ...session, timelineSupport: true });
  running.push(client);
  await client.startClient(options);
  await until(client, "the first sync", () => client.isInitialSyncComplete());
  return client;
}

const events = [
  ClientEvent.Sync, ClientEvent.Event, ClientEvent.Room, RoomEvent.Timeline, RoomEvent.MyMembership,
  RoomEvent.LocalEchoUpdated, RoomEvent.Receipt, RoomMemberEvent.Typing, RoomMemberEvent.Membership,
  RoomStateEvent.Members, MatrixEventEvent.Status,
];

// until waits for a condition, and looks again whenever the client has news.
function until(client, what, holds) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => finish(reject, new Error(`waited in vain for ${what}`)), patience);
    const look = () => {
      try {
        if (holds()) finish(resolve);
      } catch (error) {
        finish(reject, error);
      }
    };
    const finish = (settle, value) => {
      clearTimeout(late);
      events.forEach((event) => client.off(event, look));
      settle(value);
    };
    events.forEach((event) => client.on(event, look));
    look();
  });
}

const texts = (room) => room.getLiveTimeline().getEvents()
  .filter((event) => event.getType() === "m.room.message").map((event) => event.getContent().body);

async function talk(from, to, roomId, text) {
  const { event_id: id } = await from.sendTextMessage(roomId, text);
  await until(to, text, () => to.getRoom(roomId)?.findEventById(id));
  assert.equal(to.getRoom(roomId).findEventById(id).getSender(), from.getUserId());
  return id;
}

async function step(what, run) {
  const result = await run();
  console.log(`ok ${what}`);
  return result;
}

async function main() {
  const [northern, southern] = await step("log in on both", () =>
    Promise.all([login(northUrl, "ann"), login(southUrl, "ben")]));
  const [ann, ben] = await step("start to sync", () =>
    Promise.all([start(northern, { initialSyncLimit: 20 }), start(southern, { initialSyncLimit: 20 })]));

  const roomId = await step("create a room and invite across", async () => {
    const room = await ann.createRoom({ preset: "private_chat", name: "Harbour", invite: [ben.getUserId()] });
    return room.room_id;
  });
  const said = [];
  await step("speak before the other one joins", async () => {
    for (let i = 0; i < 30; i++) {
      said.push(`before ${i}`);
      await ann.sendTextMessage(roomId, said.at(-1));
    }
  });
  await step("join across", async () => {
    await until(ben, "the invitation", () => ben.getRoom(roomId)?.getMyMembership() === "invite");
    await ben.joinRoom(roomId);
    await until(ben, "being in the room", () => ben.getRoom(roomId)?.getMyMembership() === "join");
    await until(ann, "the guest", () => ann.getRoom(roomId)?.getMember(ben.getUserId())?.membership === "join");
    await until(ben, "the name of the room", () => ben.getRoom(roomId).name === "Harbour");
  });
  const last = await step("talk both ways", async () => {
    let id;
    for (let i = 0; i < 5; i++) {
      said.push(`from the north ${i}`);
      await talk(ann, ben, roomId, said.at(-1));
      said.push(`from the south ${i}`);
      id = await talk(ben, ann, roomId, said.at(-1));
    }
    return id;
  });
  await step("see typing", async () => {
    const typing = () => ben.getRoom(roomId).getMember(ann.getUserId()).typing;
    await ann.sendTyping(roomId, true, 30_000);
    await until(ben, "typing", typing);
    await ann.sendTyping(roomId, false, 0);
    await until(ben, "the end of typing", () => !typing());
  });
  await step("see receipts", async () => {
    await ann.sendReadReceipt(ann.getRoom(roomId).findEventById(last));
    await until(ben, "the receipt", () => ben.getRoom(roomId).getEventReadUpTo(ann.getUserId(), true) === last);
  });
  await step("page back to the beginning", async () => {
    for (const session of [northern, southern]) {
      const reader = await start(session, { initialSyncLimit: 3 });
      const room = reader.getRoom(roomId);
      for (let pages = 0; room.oldState.paginationToken !== null; pages++) {
        assert.ok(pages < 100, "paging back does not end");
        await reader.scrollback(room, 7);
      }
      assert.deepEqual(texts(room), said);
      assert.equal(room.getLiveTimeline().getEvents()[0].getType(), "m.room.create");
    }
  });
}

try {
  await main();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  running.forEach((client) => client.stopClient());
}
// Connections of long polls would keep the program alive.
process.exit();
