/* How the gate shares the domain's lock with the monitor, and how the roots that it loads are settled: a model for spin.
 *
 * Two vCPUs are now in their gates, now in the monitor; two other threads of the monitor, such as those of devices, take the
 * lock alone as well. Each step stands for the line of code that its comment names. Spin visits every order of the steps, and
 * checks
 *
 *  - that nobody is in the gate's part while somebody has the lock alone, and that two gates are never in one table (asserts);
 *  - that whoever has the lock alone knows the root of each vCPU, and that nobody is on a root that was taken away (asserts);
 *  - that nobody waits for good (no invalid end state, and the claim `served` with weak fairness);
 *  - that a vCPU that left the VM, for whatever reason and with whatever flags, keeps nobody out (its gate may lie, LIES).
 *
 * x86 stores and loads are taken for sequentially consistent: the four accesses that need it are so in the code.
 */

#ifndef LIES
#define LIES 0  /* 1: a gate may keep its flag and a table's lock, as code that took it over could */
#endif

#ifndef ROOTS
#define ROOTS 1  /* 0: no roots, which makes the model much smaller */
#endif

#define VCPUS 2
#define NOBODY 0

bool mutex = false;          /* DomainMutex::mutex_ */
bool taken = false;          /* ControlPage::taken */
bool inside[VCPUS];          /* ResidentFlags::inside */
bool in_guest[VCPUS];        /* ResidentShare::Cpu::in_guest */
byte owner = NOBODY;         /* ControlPage::TableLock::owner, of the one table */

/* Two tables can be roots, 0 and 1. */
bit runs_on[VCPUS];          /* StatePage::kernel_root, and the processor's CR3 */
bool moved[VCPUS];           /* ResidentFlags::roots_moved */
bit counted[VCPUS];          /* CpuState::kernel_root: where the vCPU's reference is */
bool is_root[2] = true;      /* FrameFacts::validated, of the L4 */

/* Of the model alone: who is where. A gate that lies counts for nothing. */
byte alone = 0, in_gates = 0, in_table = 0;
bool was_alone = false, reopened = false;

inline settle(cpu) {
  if
  :: moved[cpu] ->                                       /* ResidentShare::keep_out: roots_moved */
     moved[cpu] = false;                                 /* ResidentShare::settle: roots_moved.store(0) */
     assert(LIES || is_root[runs_on[cpu]]);              /* Validator::settle_root: share() */
     if
     :: is_root[runs_on[cpu]] -> counted[cpu] = runs_on[cpu]  /* Validator::settle_root: replace_root() */
     :: else                                             /* GuestCpu::settle_roots: isolation fault */
     fi
  :: else
  fi;
  assert(LIES || counted[cpu] == runs_on[cpu])
}

inline lock_alone() {
  atomic { !mutex -> mutex = true };                     /* DomainMutex::lock_behind_others: mutex_.lock() */
  taken = true;                                          /* ResidentShare::keep_out: taken.store(1) */
  !(inside[0] && in_guest[0]);                           /* ResidentShare::is_inside, await_outside */
  !(inside[1] && in_guest[1]);
  alone++;
  was_alone = true;
  assert(alone == 1 && in_gates == 0);
  settle(0);
  settle(1)
}

/* A root is pinned or unpinned. With the lock held alone. */
inline change_root(table) {
  if
  :: is_root[table] && counted[0] != table && counted[1] != table ->
     assert(LIES || (runs_on[0] != table && runs_on[1] != table));
     is_root[table] = false                              /* Validator::release_entries: validated = false */
  :: !is_root[table] -> is_root[table] = true            /* Validator::validate_upper: validated = true */
  :: else
  fi
}

inline unlock_alone() {
  assert(alone == 1 && in_gates == 0);
  alone--;
  taken = false;                                         /* ResidentShare::let_in: taken.store(0) */
  mutex = false                                          /* DomainMutex::unlock: mutex_.unlock() */
}

/* One update in the gate, or an attempt at it. */
inline gate(me) {
  inside[me] = true;                                     /* Inside::Inside: inside_.exchange(1) */
  if
  :: taken -> inside[me] = false                         /* Inside::Inside: taken.load() != 0, inside_.store(0) */
  :: else ->                                             /* Inside::Inside: is_in_ = true */
     in_gates++;
     assert(alone == 0);
     if
     :: was_alone -> reopened = true                     /* has to be reached */
     :: else
     fi;
     if
     :: atomic { owner == NOBODY -> owner = me + 1 };    /* TableLocks::Locked: compare_exchange_strong */
        in_table++;
        assert(in_table == 1);
        in_table--;
        owner = NOBODY                                   /* TableLocks::~Locked: owner_.store(0) */
     :: owner != NOBODY -> skip                          /* TableLocks::Locked: has_it_ stays false */
#if ROOTS
     :: is_root[1 - runs_on[me]] ->                      /* ResidentPath::root_mirror */
        runs_on[me] = 1 - runs_on[me];                   /* load_roots() */
        moved[me] = true
#endif
     fi;
     in_gates--;
     inside[me] = false                                  /* Inside::~Inside: inside_.store(0) */
  fi
}

proctype Vcpu(byte me) {
again:
  in_guest[me] = true;                                   /* GuestCpu::run: share->enters() */
  if
  :: gate(me)
  :: skip                                                /* it leaves for something else */
#if LIES
  :: inside[me] = true;                                  /* lying_gate/resident.cpp: keeps_lock */
     if
     :: atomic { owner == NOBODY -> owner = me + 1 }
     :: skip
     fi
  :: inside[1 - me] = true                               /* the same, for another vCPU */
#if ROOTS
  :: moved[me] = true                                    /* lying_gate/resident.cpp: forges_root */
  :: moved[1 - me] = true
  :: runs_on[me] = 1 - runs_on[me]
#endif
#endif
  fi;
  /* A vCPU that was interrupted in the gate is sent back into it: GuestCpu::run_to_the_guests_own_exit. */
  if
  :: inside[me] ->
     assert(LIES);                                       /* GuestCpu::end_on_lock_not_left */
     if
     :: owner == me + 1 -> owner = NOBODY                /* ResidentShare::leaves: owner.store(0) */
     :: else
     fi;
     inside[me] = false                                  /* ResidentShare::leaves: flag().store(0) */
  :: else
  fi;
  assert(LIES || !inside[me]);
  assert(owner != me + 1);
  in_guest[me] = false;                                  /* ResidentShare::leaves: in_guest.store(false) */
  lock_alone();                                          /* GuestCpu::run: lock.lock() */
  unlock_alone();
  goto again
}

/* FrameHolder and the like: a thread that takes the lock now and then. */
proctype Other() {
again:
  lock_alone();
  if
#if ROOTS
  :: true -> change_root(0)
  :: true -> change_root(1)
#endif
  :: skip
  fi;
  unlock_alone();
  goto again
}

init {
  atomic { run Vcpu(0); run Vcpu(1); run Other(); run Other() }
}

/* Again and again somebody gets the lock alone. (Who does is up to the host's mutex, which promises no order.) */
ltl served { [] <> (alone == 1) }
