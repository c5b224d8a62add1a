{{- define "labels" -}}
app.kubernetes.io/name: nfs-subdir-csi
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- with .Values.customLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The labels by which a workload finds its pods. They can never change, so nothing of the release or its version is among them. */ -}}
{{- define "selector" -}}
app.kubernetes.io/component: {{ . }}
app.kubernetes.io/name: nfs-subdir-csi
{{- end -}}

{{- /* usage: include "image" (list $ .Values.image.nfs) */ -}}
{{- define "image" -}}
{{- $image := index . 1 -}}
image: {{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end -}}

{{- /* The probe asks the driver through its socket, and no NFS server: a dead server is no reason to restart the driver. */ -}}
{{- define "probes" -}}
startupProbe:
  exec:
    command: [/nfs-subdir-csi, probe]
  periodSeconds: 2
  timeoutSeconds: 10
  failureThreshold: 30
# The probe is rare because each one starts a process. There is no readiness probe: a driver that has started is ready.
livenessProbe:
  exec:
    command: [/nfs-subdir-csi, probe]
  periodSeconds: 60
  timeoutSeconds: 10
  failureThreshold: 3
{{- end -}}

{{- define "sidecar" -}}
securityContext:
  runAsUser: 65532
  runAsGroup: 65532
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: socket
    mountPath: /csi
  - name: token
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
{{- end -}}

{{- /* The configuration and the Secret with mount options, for both services. The Secret is optional. */ -}}
{{- define "config-mounts" -}}
- name: state
  mountPath: /run/nfs-subdir-csi
- name: config
  mountPath: /etc/nfs-subdir-csi/config
  readOnly: true
- name: private
  mountPath: /etc/nfs-subdir-csi/private
  readOnly: true
{{- end -}}

{{- define "config-volumes" -}}
# The mount points of exports, in the driver's own mount namespace.
- name: state
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: config
  configMap:
    name: nfs-subdir-csi
- name: private
  secret:
    secretName: nfs-subdir-csi
    optional: true
{{- end -}}

{{- /* usage: include "metrics" (list . PORT): on the network of the host, the address of the pod is that of the host. */ -}}
{{- define "metrics" -}}
{{- if (index . 0).Values.metrics.enabled }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: METRICS_ADDRESS
  value: $(POD_IP):{{ index . 1 }}
{{- end }}
{{- end -}}
